"""Where the webhook reads service accounts and bindings from."""
