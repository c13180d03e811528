"""A corpus of broken and healthy container networks: each fault is proved real before netdoctor is asked about it."""
