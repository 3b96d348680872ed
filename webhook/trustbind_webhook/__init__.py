"""The mutating admission webhook: gives a pod what an AWS SDK needs to use a role.

Reading order is data flow: ``review`` takes the request apart, ``lookup`` finds the account, ``decision`` decides,
``patch`` writes the decision down, ``review`` answers.
"""
