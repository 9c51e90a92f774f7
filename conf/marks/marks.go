package marks

import _ "embed"

// WSGI is the middleware for Python applications, a module named tidegate_marks (Python 3, standard library only).
//
//go:embed wsgi/tidegate_marks.py
var WSGI string

// WSGIFile is the file name under which Python finds the module.
const WSGIFile = "tidegate_marks.py"

// PHP is what php-fpm runs before each script (auto_prepend_file; PHP 7.4 and later). Its process has a readiness mark
// between two requests, and none before its first.
//
//go:embed php/tidegate_marks.php
var PHP string

// PHPFile is the file name of PHP.
const PHPFile = "tidegate_marks.php"

// Rack is the middleware for Ruby applications, a class named TidegateMarks (Rack 1.4 and later; tested with Ruby 3.1, Rack 2.2).
//
//go:embed rack/tidegate_marks.rb
var Rack string

// RackFile is the file name under which Ruby finds the class.
const RackFile = "tidegate_marks.rb"
