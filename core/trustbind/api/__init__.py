"""The objects that users write: custom resources, annotations, labels, and the rules that hold between objects."""
