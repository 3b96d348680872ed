"""The mutating admission webhook: gives a pod what an AWS SDK needs to use a role.

Reading order is data flow: ``admission`` reads the request, ``lookup`` finds the service account, ``injection`` decides
and writes the JSON Patch, ``admission`` answers.
"""
