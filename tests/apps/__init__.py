"""Small applications, one behaviour each. Tests copy one as `app.py` into a directory and serve it from there.

Each is complete in itself and reads its version from `version.txt` beside it at import, as a deploy would change it.
"""
