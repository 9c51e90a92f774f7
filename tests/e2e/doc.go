// Package e2e holds the end-to-end tests: the real tidegate binary between a real HAProxy, a real nginx and real gunicorn
// workers, started and ended by tests/harness.
package e2e
