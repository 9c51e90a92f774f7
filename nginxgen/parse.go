package nginxgen

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tufanbarisyildirim/gonginx/config"
	"github.com/tufanbarisyildirim/gonginx/parser"
)

// maxOurs bounds the size of an include file that Parse reads, in bytes.
const maxOurs = 64 << 20

// Parse reads a file that Render wrote back into its model. It is exact: text that Render would not have written, byte
// for byte, is an error, so that no edit and no weakness of the parser goes unseen.
func Parse(text []byte) (Model, error) {
	m, err := parse(text)
	if err != nil {
		return Model{}, fmt.Errorf("parse the nginx include: %w", err)
	}
	if err := m.validate(); err != nil {
		return Model{}, fmt.Errorf("parse the nginx include: %w", err)
	}
	if again := dump(m.normal()); !bytes.Equal(again, text) {
		return Model{}, fmt.Errorf("parse the nginx include: line %d is not as tidegate writes it", firstDiff(again, text))
	}
	return m, nil
}

func firstDiff(a, b []byte) int {
	line := 1
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			line++
		}
	}
	return line
}

// parse reads the blocks without any judgement of names and numbers.
func parse(text []byte) (Model, error) {
	if len(text) > maxOurs {
		return Model{}, fmt.Errorf("the file has %d bytes, at most %d are allowed", len(text), maxOurs)
	}
	if !ours(text) {
		return Model{}, errors.New("the first line is not tidegate's")
	}
	c, _, err := parseText(string(text), parseOptions{comments: true, maxDepth: 1})
	if err != nil {
		return Model{}, err
	}
	m := Model{Upstreams: []Upstream{}}
	stream := bytes.HasPrefix(text, []byte(streamHeader))
	for _, d := range c.GetDirectives() {
		t, ok := d.(*config.Upstream)
		if !ok {
			return Model{}, fmt.Errorf("the directive %s does not belong here", shown(d.GetName()))
		}
		u, err := fromTree(t, stream)
		if err != nil {
			return Model{}, fmt.Errorf("upstream %s: %w", shown(t.UpstreamName), err)
		}
		m.Upstreams = append(m.Upstreams, u)
	}
	return m, nil
}

func fromTree(t *config.Upstream, stream bool) (Upstream, error) {
	u := Upstream{Name: t.UpstreamName, Stream: stream}
	for _, d := range t.Directives {
		var words []string
		for _, p := range d.GetParameters() {
			words = append(words, p.GetValue())
		}
		if d.GetBlock() != nil {
			return u, fmt.Errorf("the block %s does not belong here", shown(d.GetName()))
		}
		switch name := d.GetName(); name {
		case "zone":
			if len(words) != 2 || words[0] != u.zoneName() {
				return u, fmt.Errorf("the zone %s is not ours", shown(strings.Join(words, " ")))
			}
			u.Zone = words[1]
		case "keepalive":
			n, err := strconv.Atoi(strings.Join(words, " "))
			if err != nil {
				return u, fmt.Errorf("read keepalive: %w", err)
			}
			u.Keepalive = n
		case "least_conn", "random", "ip_hash", "hash":
			u.Method = strings.Join(append([]string{name}, words...), " ")
		case "resolver", "resolver_timeout":
			u.Resolve.fromDirective(words)
		default:
			return u, fmt.Errorf("the directive %s does not belong here", shown(name))
		}
	}
	for _, st := range t.UpstreamServers {
		if fromDNS(st) {
			u.Resolve.fromTree(st)
			continue
		}
		s, err := serverFromTree(st)
		if err != nil {
			return u, fmt.Errorf("server %s: %w", shown(st.Address), err)
		}
		u.Servers = append(u.Servers, s)
	}
	return u, nil
}

func serverFromTree(t *config.UpstreamServer) (Server, error) {
	s := Server{Address: t.Address}
	for k, v := range t.Parameters {
		digits, isTime := v, false
		if k == "fail_timeout" {
			digits, isTime = strings.CutSuffix(v, "s")
			if !isTime {
				return s, fmt.Errorf("fail_timeout %s is not in seconds", shown(v))
			}
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			return s, fmt.Errorf("read %s: %w", shown(k), err)
		}
		switch k {
		case "weight":
			s.Weight = n
		case "max_conns":
			s.MaxConns = n
		case "max_fails":
			s.MaxFails = n
			if n == 0 {
				s.MaxFails = -1
			}
		case "fail_timeout":
			if n < 0 || n > 3600 {
				return s, fmt.Errorf("fail_timeout %s is out of range", shown(v))
			}
			s.FailTimeout = time.Duration(n) * time.Second
		default:
			return s, fmt.Errorf("the parameter %s does not belong here", shown(k))
		}
	}
	for _, f := range t.Flags {
		switch f {
		case "down":
			s.Down = true
		case "backup":
			s.Backup = true
		default:
			return s, fmt.Errorf("the word %s does not belong here", shown(f))
		}
	}
	for _, c := range t.GetInlineComment() {
		s.Name = strings.TrimPrefix(c.Value, "# ")
	}
	return s, nil
}

type parseOptions struct {
	comments bool
	maxDepth int
}

// parseText guards gonginx: it recurses without a limit, and a deep nest of blocks ends the process, which no recover
// stops; so the text is scanned first. A panic inside it comes back as an error.
func parseText(text string, o parseOptions) (c *config.Config, s scan, err error) {
	s, err = scanText(text, o.maxDepth)
	if err != nil {
		return nil, s, err
	}
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("the parser failed: %v", p)
		}
	}()
	opts := []parser.Option{parser.WithSkipValidDirectivesErr()}
	if !o.comments {
		opts = append(opts, parser.WithSkipComments())
	}
	c, err = parser.NewStringParser(text, opts...).Parse()
	return c, s, err
}
