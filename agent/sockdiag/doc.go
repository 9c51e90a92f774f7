// Package sockdiag counts an application's requests by its connections, as the kernel has them (sock_diag(7)): no change to
// the application and no privilege is needed, and it fits every server that takes one connection per request.
//
//	client connects ──▶ listener's queue ──▶ accept ──▶ ESTABLISHED or CLOSE_WAIT ──▶ close
//	                    Queued (rqueue of     inode      Busy: a process holds it
//	                    the LISTEN socket)    appears    (inode is not 0)
//
// CLOSE_WAIT counts too: the client has given up, the worker does not know it yet. What the server has closed itself
// (FIN_WAIT, LAST_ACK, TIME_WAIT) does not.
//
// # What it does not know
//
// A connection that is kept open between requests counts as busy, and so does one on which nothing was sent yet. The count is
// right for servers whose workers hold one connection at a time and close it after the answer (gunicorn sync, Unicorn,
// php-fpm, uWSGI without keep-alive) and too high for those that keep connections (gunicorn gthread, Puma, anything behind a
// proxy with keep-alive towards its servers). A server that accepts more than it can work on has no queue in the kernel.
// Processes are not told apart. The agent must share the network namespace of the application.
//
// # Cost
//
// The kernel walks its whole table of connections for each question, so the sources of one agent share a Table: it asks once
// for all of them, at most every 50 ms, and less often where an answer takes long, so that it takes about a hundredth of one
// CPU until the answers would be a second old. Count.Age tells how old they are.
package sockdiag
