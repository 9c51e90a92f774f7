package marks

import _ "embed"

// WSGI is the middleware for Python applications, a module named tidegate_marks (Python 3, standard library only).
//
//go:embed wsgi/tidegate_marks.py
var WSGI string

// WSGIFile is the file name under which Python finds the module.
const WSGIFile = "tidegate_marks.py"
