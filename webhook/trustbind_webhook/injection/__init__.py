"""What a pod gets: the decision, the containers it concerns, and the JSON Patch."""
