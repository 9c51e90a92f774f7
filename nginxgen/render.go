package nginxgen

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tufanbarisyildirim/gonginx/config"
	"github.com/tufanbarisyildirim/gonginx/dumper"
)

// marker begins the first line of every file of ours, in every version; it tells ours from a stranger's.
const marker = "# Written by tidegate."

const header = marker + ` Do not edit: an edit is reported, kept beside this file
# under a hidden name that ends in .edited, and overwritten.
# Why: the servers and weights below follow the workers that are ready to serve; "tidegate explain APP" says what moved them.
# To stop that, stop tidegate: nginx goes on with this file as it is, and it may then be edited like any other.
# To be rid of the file, put upstream blocks of your own in place of the include line, reload nginx, then remove it.
`

// streamHeader tells a reader, and Parse, which of nginx's two kinds of upstreams the file holds: their text is the same.
const streamHeader = header + "# These upstreams are for nginx's stream block, not for http.\n"

// Names of our shared memory zones, apart from the user's own. All zones of an nginx have names of their own, http or
// stream, and no name of an upstream has a colon.
const (
	zonePrefix       = "tidegate_"
	streamZonePrefix = "tidegate_stream:"
)

// Render turns a model into the bytes of the include file. Equal models (Why apart) give equal bytes, in the order given.
// An error names the upstream, the server, the value and what is allowed. What Render returns has been parsed again and
// found to be the model; it may still be refused by an nginx that, for example, knows the same name from another file.
// One file is for http or for stream: a model with upstreams of both kinds is refused.
func Render(m Model) ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("render the nginx include: %w", err)
	}
	m = m.normal()
	text := dump(m)
	back, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("render the nginx include: the result does not parse, this is a bug: %w", err)
	}
	if !m.equal(back) {
		return nil, fmt.Errorf("render the nginx include: the result reads back as another model, this is a bug")
	}
	return text, nil
}

// dump writes a valid, normal model.
func dump(m Model) []byte {
	var b bytes.Buffer
	if m.stream() {
		b.WriteString(streamHeader)
	} else {
		b.WriteString(header)
	}
	style := dumper.NewStyle().WithLuaFormatting(false)
	for _, u := range m.Upstreams {
		b.WriteByte('\n')
		b.WriteString(dumper.DumpDirective(u.tree(), style))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// tree builds the block. The method stands before keepalive: the other way round nginx only warns, and keeps no connection.
func (u Upstream) tree() *config.Upstream {
	t := &config.Upstream{UpstreamName: u.Name}
	add := func(name string, params ...string) {
		d := &config.Directive{Name: name}
		for _, p := range params {
			d.Parameters = append(d.Parameters, config.Parameter{Value: p})
		}
		t.Directives = append(t.Directives, d)
	}
	if u.Zone != "" {
		add("zone", u.zoneName(), u.Zone)
	}
	if u.Method != "" {
		words := strings.Split(u.Method, " ")
		add(words[0], words[1:]...)
	}
	if u.Keepalive > 0 {
		add("keepalive", strconv.Itoa(u.Keepalive))
	}
	for _, d := range u.Resolve.directives() {
		add(d[0], d[1:]...)
	}
	if u.Resolve.on() {
		t.AddServer(u.Resolve.tree())
	}
	for _, s := range u.Servers {
		t.AddServer(s.tree())
	}
	return t
}

func (u Upstream) zoneName() string {
	if u.Stream {
		return streamZonePrefix + u.Name
	}
	return zonePrefix + u.Name
}

func (s Server) tree() *config.UpstreamServer {
	t := &config.UpstreamServer{Address: s.Address, Parameters: map[string]string{"weight": strconv.Itoa(s.Weight)}}
	if s.MaxConns > 0 {
		t.Parameters["max_conns"] = strconv.Itoa(s.MaxConns)
	}
	if s.MaxFails != 0 {
		t.Parameters["max_fails"] = strconv.Itoa(max(s.MaxFails, 0))
	}
	if s.FailTimeout > 0 {
		t.Parameters["fail_timeout"] = strconv.Itoa(int(s.FailTimeout/time.Second)) + "s"
	}
	if s.Backup {
		t.Flags = append(t.Flags, "backup")
	}
	if s.Down {
		t.Flags = append(t.Flags, "down")
	}
	if s.Name != "" {
		t.SetInlineComment(config.InlineComment{Value: " # " + s.Name})
	}
	return t
}

// ours tells whether text begins with our marker.
func ours(text []byte) bool { return bytes.HasPrefix(text, []byte(marker)) }
