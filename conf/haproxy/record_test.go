package haproxyconf_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
)

var record = flag.Bool("record", false, "write what each HAProxy sends as seeds for the fuzz targets of package spoa")

// tapped keeps what is read on the connections of a listener.
type tapped struct {
	net.Listener
	mu    sync.Mutex
	conns []*tap
}

type tap struct {
	net.Conn
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &tap{Conn: c}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, t)
	return t, nil
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(b[:n])
	return n, err
}

// TestRecordSeeds renews the seeds whose names have "lean", which are of these files; the others are of earlier ones, which the agent still reads:
//
//	TIDEGATE_TEST_HAPROXIES=... go test -run RecordSeeds ./conf/haproxy -record
func TestRecordSeeds(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	each(t, func(t *testing.T, binary, variant string) {
		for _, arrivals := range []bool{false, true} {
			o := newOrigin(t)
			s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n    server s2 " + o.addr + "\n", []string{"s1", "s2"}}},
				func(p *haproxyconf.Params, _ *haproxyconf.Files) {
					if p.Arrivals = arrivals; !arrivals {
						p.Sample = 50
					}
				})
			s.agent.stop()
			s.waitAgent(t, false)
			ln, err := spoa.Listen(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			l := &tapped{Listener: ln}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- spoa.New(spoa.Options{Sink: s.rec}).Serve(ctx, l) }()
			s.waitAgent(t, true)
			from := s.rec.heartbeats()
			for i := range 20 {
				s.get(fmt.Sprintf("/app/x?ms=%d&code=%d", i%3, 200+100*(i%4)))
			}
			s.wait(t, "heartbeats", func() bool { return s.rec.heartbeats() > from+2 })
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			name := fmt.Sprintf("haproxy-%s-files-%s-lean", versionOf(t, binary), variant)
			if arrivals {
				name += "-arrivals"
			}
			l.write(t, name)
		}
	})
}

// write keeps the shortest connection of each kind, and one payload of each message.
func (l *tapped) write(t *testing.T, name string) {
	streams, messages := map[string][]byte{}, map[string][]byte{}
	for _, c := range l.conns {
		text := c.text.Bytes()
		var kinds []string
		end := 0
		for rest := text; len(rest) >= 4; rest = text[end:] {
			n := int(binary.BigEndian.Uint32(rest))
			if len(rest) < 4+n || end+4+n > 3000 {
				break
			}
			body := rest[4 : 4+n]
			end += 4 + n
			kind := "hello"
			if body[0] == 3 {
				// A payload begins with the length of the first message's name.
				payload := body[bytes.Index(body, []byte("tidegate-"))-1:]
				kind = string(payload[1 : 1+payload[0]])
				messages[kind] = payload
			} else if bytes.Contains(body, []byte("healthcheck")) {
				kind = "check"
			}
			if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
				kinds = append(kinds, kind)
			}
		}
		if len(kinds) > 3 {
			kinds = kinds[:3]
		}
		if key := strings.Join(kinds, "+"); key != "" && (streams[key] == nil || len(streams[key]) > end) {
			streams[key] = text[:end]
		}
	}
	put := func(target, key string, text []byte) {
		path := filepath.Join("..", "..", "spoa", "testdata", "fuzz", target, name+"-"+strings.ReplaceAll(key, "tidegate-", ""))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for key, text := range streams {
		put("FuzzFrames", key, text)
	}
	for key, text := range messages {
		put("FuzzMessages", key, text)
		put("FuzzAgainstNegasus", key, text)
	}
}
