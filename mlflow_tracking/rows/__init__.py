"""Which rows are judged, and what did people say of them?"""
