package haproxy

import (
	"context"
	"io"
	"net"
	"time"
)

// Slots opens up to n connections to the stats socket at once, waits for HAProxy to speak on each, closes them all, and returns on
// how many it spoke within the time-out. HAProxy does not tell its "stats maxconn"; this finds out whether n are free. Nothing
// but "prompt" is sent, which changes nothing if it is answered late. The error is ErrUnreachable when not even one opens.
func (c *Client) Slots(ctx context.Context, n int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var d net.Dialer
	for free := range n {
		conn, err := d.DialContext(ctx, c.target.network, c.target.address)
		if err != nil {
			if free == 0 {
				return 0, c.target.unreachable(err, c.timeout)
			}
			return free, nil // the backlog is full, too
		}
		defer conn.Close()
		if !speaks(ctx, conn) {
			return free, nil
		}
	}
	return n, nil
}

// speaks tells whether HAProxy gives its prompt on a connection, before the context ends.
func speaks(ctx context.Context, conn net.Conn) bool {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, "prompt\n"); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}
