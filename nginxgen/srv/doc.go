// Package srv tells nginx the servers of its upstreams, with their weights, through DNS: SRV records at a loopback address, from
// memory. nginx 1.27.3 and later asks for them again and again (`server NAME service=http resolve` in an upstream with a zone),
// so a change reaches it without a reload.
//
// The idea:
//
//	_http._tcp.app.tidegate.  SRV  1 7 8000 10-0-0-1.ip.tidegate.   a server that serves, weight 7
//	                          SRV  2 1 8000 10-0-0-2.ip.tidegate.   a backup
//	10-0-0-1.ip.tidegate.     A    10.0.0.1                         a name that says its address: no memory is needed for it
//
// What nginx makes of an answer decides what is answered (ngx_http_upstream_zone_module.c, ngx_resolver.c):
//
//	nginx gets                          and does                          so this package
//	an SRV answer                       changes what differs, asks on     gives it for upstreams it knows
//	no records, or NXDOMAIN             drops every server: 502           never answers so
//	SERVFAIL, REFUSED, nothing at all   keeps the servers it has          says SERVFAIL for what it does not know (yet), REFUSED for strangers
//	a name without an address           drops that server                 answers names of addresses in any state, also while it closes
//
// Read-back: nginx does not say what it has taken. It asks from one UDP port per worker, and asks again only after it has dealt
// with the answer before; so the second question from a port proves the first answer. Taken tells what is proven.
//
// Invariants:
//   - No answer to an SRV question is empty: an upstream with no server that serves keeps its last answer.
//   - What comes from the wire is bounded: 1,024 bytes a question, 20,000 questions a second, 128 TCP connections; one goroutine
//     answers UDP. An answer over UDP is never longer than the asker allows (512 bytes without EDNS); then TC sends it to TCP.
//   - It listens on loopback addresses only.
//
// An answer that gets lost costs nginx the server, unless it has the time to ask again. All addresses of an upstream are asked for
// at once, and nginx's socket holds some 270 answers (the kernel's default): that bounds the servers, not this package.
//
// Units: weights are 1 to 65,535, nginx takes them as they are (and 0 as 1). The TTL is one second.
package srv
