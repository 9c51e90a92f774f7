// Package gunicorn steers a gunicorn master (25.1 and later) through its control socket (--control-socket), which, unlike the
// signals TTIN and TTOU, tells how many workers the master wants to have and answers orders. gunicorn does not tell how many
// are busy; the marks of conf/marks do.
//
// An exchange is a question and an answer, each a length of four bytes (big endian) and so much JSON:
//
//	{"id":1,"command":"worker add 3","args":[]}  ──▶  {"id":1,"status":"ok","data":{"added":3,"previous":2,"total":5}}
//
// Before each fork gunicorn closes its control socket and opens it anew afterwards (seen with 26.2): connections are reset
// or refused for moments, and the answer to "worker add" may be lost although it is carried out. So each exchange has a
// connection of its own, what the master wants is asked before every order, an order without an answer is not repeated but
// read back, and for two seconds the last answer stands for one that does not come. Each order is for the whole difference.
//
// gunicorn lets its oldest workers go when it has more than it wants; they finish what they have begun. It keeps at least
// one. A reload (HUP) and a restart bring the configured number back; the reload count and the master's identity tell, and
// the target is ordered again.
package gunicorn
