"""AdmissionReviews in and out."""
