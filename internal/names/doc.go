// Package names turns the host names in servers' addresses into IP addresses, again and again, so that nginx, HAProxy and
// warm-up requests are told addresses alone.
//
// A name stands for one address, because a server is one app on one machine: of several answers the one in use stays as long
// as it is among them, however they are ordered; otherwise the lowest IPv4 address is taken, else the lowest IPv6 address. A
// last good answer stays in force while DNS fails, and over a restart of tidegate: it is kept in a file. No answer at all is
// "", and the server is left out until there is one.
package names
