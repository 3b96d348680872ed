"""``trustbind evaluate``: would this caller be allowed?"""
