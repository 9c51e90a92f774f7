// Package unixsock listens on unix sockets as a daemon should: with the right mode before anyone can connect, over the socket
// file of a dead predecessor but never over one that is served or over a file that is no socket, and removing the file at the
// end unless a successor has put its own there.
package unixsock
