// Package setup is the logic of `tidegate init`: from a user's own haproxy.cfg and nginx.conf, or one of them, to everything
// that puts tidegate in front of it, without asking anything and without changing anything but one new folder.
//
//	haproxy.cfg ──► backends, stats socket, chroot, group ──┐   choose: which backends, which servers, why not the others
//	                                                        │   pair:   which upstream is which backend
//	nginx.conf ───► upstreams, who passes to them, ─────────┤   adopt:  which upstreams are apps of their own, why not the others
//	                places for an include                   ▼
//	                          Plan: a report, the files, the instructions (the same text as README.txt)
//	                                                        ▼
//	                          Write: all files, or none and no folder
//
// nginx's files are read three times over, because nothing may be proposed on a misreading. nginxReader reads by nginx's own
// rules (internal/nginxtok), includes in their place, and knows where each byte stands. gonginx reads the same files: where
// it can read them it must find the same upstream blocks, and else each block by itself. And `nginx -T` must read the
// same files with the same text, where nginx is installed and accepts the configuration. A difference is an error.
//
// What is written passes `haproxy -c` (the user's file with the lines added, then tidegate.cfg), `nginx -t` and `tidegate
// check`; Write runs the latter's loader on its own work and takes everything back when that fails.
//
// # Invariants
//
//   - The user's files are opened for reading only. Every change to them is in the instructions, with what takes it back to
//     the byte: a command, or the old lines.
//   - No file is ever overwritten.
//   - An upstream is only taken when tidegate would send its requests to the servers that get them now: a backend and an
//     upstream of one name may well be HAProxy's servers and HAProxy itself.
//   - An upstream is only taken when all that its block says can be said in tidegate's configuration, but for the times of
//     kept connections, which the report names.
//   - A name in an upstream stays a name in tidegate's configuration; the first include file has the address that it stands
//     for, by the rule of the running tidegate (internal/names).
//   - What cannot be known from the files (the warm-up's path, the workers of a node) is a comment or a careful default.
//
// # HAProxy's chroot
//
// With `chroot DIR` HAProxy connects to unix sockets inside DIR once it runs, but opens its own (the stats socket) and reads
// its files (the SPOE file) before. So the agent listens at DIR/tidegate/spoa.sock and HAProxy is told /tidegate/spoa.sock;
// the socket belongs to HAProxy's group (`group` or `gid`), which after the start is all the right it has.
package setup
