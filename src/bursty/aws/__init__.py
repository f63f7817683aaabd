"""Amazon Web Services: the only home of boto3, which is imported when a client is made."""
