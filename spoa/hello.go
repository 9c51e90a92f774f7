package spoa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

const protocolVersion = "2.0"

// hello is what a HAPROXY-HELLO says (SPOE specification 3.2.5).
type hello struct {
	maxFrameSize uint32
	pipelining   bool
	healthcheck  bool
	// engine identifies a group of HAProxy's connections, as it likes; at most 64 bytes of it.
	engine []byte
}

// refusal is why a connection ends: the status for AGENT-DISCONNECT, the reason it is counted under, and a text.
type refusal struct {
	status uint32
	why    reason
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s (status %d)", r.text, r.status) }

func refuse(status uint32, why reason, format string, args ...any) *refusal {
	return &refusal{status, why, fmt.Sprintf(format, args...)}
}

// parseHello reads and checks the payload of a HAPROXY-HELLO. Unknown names are skipped, as the protocol asks.
func parseHello(payload []byte) (hello, *refusal) {
	var h hello
	var versions, caps []byte
	var haveVersions, haveCaps, haveSize bool
	for len(payload) > 0 {
		name, rest, ok := readString(payload)
		if !ok {
			return h, refuse(statusInvalid, reasonHello, "the HELLO ends within a name")
		}
		v, rest, ok := readValue(rest)
		if !ok {
			return h, refuse(statusInvalid, reasonHello, "the HELLO ends within the value of %.40q", name)
		}
		payload = rest
		isString := v.kind == typeddata.TypeString
		switch string(name) {
		case "supported-versions":
			versions, haveVersions = v.str, isString
		case "capabilities":
			caps, haveCaps = v.str, isString
		case "max-frame-size":
			haveSize = v.isInt()
			h.maxFrameSize = uint32(min(max(v.num, 0), 1<<32-1))
		case "engine-id":
			if isString {
				h.engine = v.str[:min(len(v.str), maxID)]
			}
		case "healthcheck":
			h.healthcheck = v.kind == typeddata.TypeBoolean && v.num == 1
		}
	}
	switch {
	case !haveVersions:
		return h, refuse(statusNoVersion, reasonHello, "the HELLO has no supported-versions")
	case !haveSize:
		return h, refuse(statusNoFrameSize, reasonHello, "the HELLO has no max-frame-size")
	case !haveCaps:
		return h, refuse(statusNoCaps, reasonHello, "the HELLO has no capabilities")
	case !supports(string(versions)):
		return h, refuse(statusBadVersion, reasonVersion, "the HELLO offers versions %.40q, we speak %s", versions, protocolVersion)
	case h.maxFrameSize < minMaxFrameSize:
		return h, refuse(statusBadFrameSize, reasonHello, "the HELLO offers a max-frame-size of %d, the least is %d", h.maxFrameSize, minMaxFrameSize)
	}
	h.pipelining = slices.ContainsFunc(strings.Split(string(caps), ","), func(c string) bool { return strings.TrimSpace(c) == "pipelining" })
	return h, nil
}

// supports tells whether a comma-separated list of Major.Minor versions has one of our major version.
func supports(versions string) bool {
	for v := range strings.SplitSeq(versions, ",") {
		major, minor, ok := strings.Cut(strings.TrimSpace(v), ".")
		if _, err := strconv.ParseUint(minor, 10, 16); ok && err == nil && major == "2" {
			return true
		}
	}
	return false
}

// appendHello appends our answer: the smaller of both frame sizes, and pipelining only when it was offered. Async is
// never answered: with it, a killed agent leaves requests waiting for the whole `timeout processing` (HAProxy <= 3.0).
func appendHello(out []byte, h hello, maxFrameSize uint32) ([]byte, error) {
	caps := ""
	if h.pipelining {
		caps = "pipelining"
	}
	return appendFrame(out, frame.TypeAgentHello,
		"version", protocolVersion, "max-frame-size", maxFrameSize, "capabilities", caps)
}

func appendDisconnect(out []byte, status uint32, text string) ([]byte, error) {
	return appendFrame(out, frame.TypeAgentDisconnect, "status-code", status, "message", text)
}
