// Package report shows the outcome of a suite of runs: a table for a terminal, JSON, CSV, and one self-contained HTML page.
package report
