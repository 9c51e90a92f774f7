package spoa

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/internal/unixsock"
)

// Listen opens addr: "unix:/absolute/path" or "IP:port" with a loopback IP.
//
// A unix socket gets mode 0660 before it can be reached under its name. The file a dead agent left is replaced; one that
// an agent still serves, and a path that is no socket, are refused. Closing the listener removes the file, unless it is
// no longer ours. The group, where HAProxy runs as another user, is the caller's to set.
//
// SPOP has no authentication, hence no other address.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		ln, err := unixsock.Listen(path)
		if err != nil {
			return nil, fmt.Errorf("listen for SPOP: %w", err)
		}
		return ln, nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SPOP on %.80q: it is neither unix:/path nor a loopback IP:port", addr)
	}
	if !ap.Addr().Unmap().IsLoopback() {
		return nil, fmt.Errorf("listen for SPOP on %s: only loopback addresses and unix sockets are allowed, because SPOP has no authentication", addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SPOP: %w", err)
	}
	return ln, nil
}
