// Package haproxy reads and changes a running HAProxy through its runtime API (the "stats socket"), and reads haproxy.cfg.
//
// # The client
//
// The live process is the truth: every question is answered from it, and every change is read back in the same breath. A
// turn is one line of commands joined by ";" over a fresh connection, answered in order, each answer ended by an empty line,
// then the end of the stream:
//
//	                           set severity-output number;      every message gets a "[3]: " in front
//	                           show info;                       which process answers, and is it stopping
//	Apply only:                set server B/S weight 10;...     an empty answer means done, anything else is a failure
//	                           show servers state B;            administrative and operational state, weights
//	                           show stat B 6 -1                 load, queue, maxconn
//
// A fresh connection always reaches the newest worker; one that is held open stays with the worker of before a reload and
// keeps it alive. A line stays below 8 kB (HAProxy 3.2 closes the connection on a line of tune.bufsize, 16 kB by default),
// so a long list becomes several lines, read back by the last. There is no trailing ";" (2.6 answers it with its help text).
//
// The answers to "add server" and "del server" end without an empty line on 2.6: such a command is the last of its line. An address
// is changed by 3.0 and later after the answer, so that the read-back may still show the old one; only the next reading tells.
//
// Apply asks "show info" on a connection of its own before it sends anything that changes: when all of HAProxy's slots for
// such connections are busy (10 by default), a line that is written and given up waits in the backlog and runs later. The
// question finds that out, and the change is not sent.
//
//	                 probe: unreachable, silent, stopping
//	Apply ---> probe ------------------------------------> nothing was sent (ErrUnreachable, ErrUnknown, ErrStopping)
//	             | serves
//	             v
//	           lines ---> time-out, reset, cut or unintelligible ---> every result ErrUnknown: Observe, then decide again
//	             | complete
//	             v
//	        per command: empty answer and effect in the read-back ---> nil
//	                     anything else -----------------------------> an error that says what was wanted and what was read
//
// # The configuration file
//
// ReadConfig reads haproxy.cfg as HAProxy does as far as backends, servers and stats sockets go; Problems names what in it
// would keep tidegate from working. Nothing is ever written.
//
// # Units and invariants
//
// Weights are HAProxy's own 0 to 256. Counts are what HAProxy says at this moment; a time-out is per connection. Names are
// letters, digits and "_.:-" only, as HAProxy itself demands, so no name can end a command and begin another. An answer that
// does not end where it must is never taken for an answer. The package keeps no copy of the state between calls; its only
// memory is which process answered last, to log a change.
package haproxy
