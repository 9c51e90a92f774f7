package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, name, nil)
	return a
}

// sign makes NAME.pem and NAME.key in the authority's folder, valid for 127.0.0.1 on both sides.
func (a *authority) sign(t *testing.T, name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.n++
	c := &x509.Certificate{SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true, IsCA: by == nil}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER}, name + ".pem": {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// Only who shows a certificate that the configured authority has signed gets an answer, and the client trusts only an agent
// that its own authority has signed. A renewed certificate is used without a restart.
func TestTLSAnswersOnlyWhoShowsTheRightCertificate(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	ca.sign(t, "agent", ca)
	ca.sign(t, "controller", ca)
	other.sign(t, "stranger", other)
	o := options(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listen = ln.Addr().String()
	_ = ln.Close()
	o.TLS = &TLS{Cert: ca.path("agent.pem"), Key: ca.path("agent.key"), CA: ca.path("ca.pem")}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	ask := func(tls *TLS, url string) error {
		c, err := NewClient(ClientOptions{URL: url, TLS: tls, Timeout: 10 * time.Second})
		if err != nil {
			return err
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err = c.Report(ctx)
			if err == nil || !strings.Contains(err.Error(), "refused") || time.Now().After(deadline) {
				return err
			}
		}
	}
	url := "https://" + o.Listen
	good := &TLS{CA: ca.path("ca.pem"), Cert: ca.path("controller.pem"), Key: ca.path("controller.key")}
	if err := ask(good, url); err != nil {
		t.Fatalf("the controller: %v", err)
	}
	for what, c := range map[string]struct {
		tls *TLS
		url string
	}{
		"no certificate":           {&TLS{CA: ca.path("ca.pem")}, url},
		"a stranger's certificate": {&TLS{CA: ca.path("ca.pem"), Cert: other.path("stranger.pem"), Key: other.path("stranger.key")}, url},
		"an agent nobody vouches":  {&TLS{CA: other.path("other.pem"), Cert: good.Cert, Key: good.Key}, url},
		"the system's authorities": {nil, url},
		"no TLS":                   {good, "http://" + o.Listen},
	} {
		if err := ask(c.tls, c.url); err == nil {
			t.Errorf("%s: answered", what)
		}
	}
	// A broken renewal changes nothing; a good one is used at once, here one of another authority.
	if err := os.WriteFile(o.TLS.Cert, []byte("not yet whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(good, url); err != nil {
		t.Errorf("with a broken renewal: %v", err)
	}
	other.sign(t, "agent", other)
	for _, file := range []string{"agent.key", "agent.pem"} {
		b, err := os.ReadFile(other.path(file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ca.path(file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(o.TLS.Cert, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := ask(&TLS{CA: other.path("other.pem"), Cert: good.Cert, Key: good.Key}, url); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
}

func TestTLSRefusesWhatCannotWork(t *testing.T) {
	ca := newAuthority(t, "ca")
	ca.sign(t, "agent", ca)
	o := options(t)
	for what, c := range map[string]struct {
		tls  TLS
		want string
	}{
		"no certificate": {TLS{Cert: ca.path("no.pem"), Key: ca.path("agent.key")}, "no.pem"},
		"another's key":  {TLS{Cert: ca.path("agent.pem"), Key: ca.path("ca.key")}, "agent.pem"},
		"no authority":   {TLS{Cert: ca.path("agent.pem"), Key: ca.path("agent.key"), CA: ca.path("agent.key")}, "no PEM certificate"},
	} {
		o.TLS = &c.tls
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := NewClient(ClientOptions{URL: "https://127.0.0.1:1", TLS: &TLS{Cert: ca.path("agent.pem")}}); err == nil {
		t.Error("a certificate without its key was accepted")
	}
	o.TLS = &TLS{Cert: ca.path("agent.pem"), Key: ca.path("agent.key"), CA: ca.path("ca.pem")}
	o.Listen = "0.0.0.0:9101"
	if _, err := New(o); err != nil {
		t.Errorf("beyond loopback, with certificates asked for: %v", err)
	}
	o.Listen = "unix:" + filepath.Join(t.TempDir(), "a.sock")
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "unix") {
		t.Errorf("TLS on a unix socket: %v", err)
	}
}

// What a person has drained stays drained over the agent's restart.
func TestDrainsOutliveTheAgent(t *testing.T) {
	o := options(t)
	o.StateDir = filepath.Join(t.TempDir(), "state")
	drained := func(a *Agent) bool { return a.byName["shop"].report(time.Now()).Drained }
	set := func(a *Agent, body string) int {
		t.Helper()
		rec := httptest.NewRecorder()
		a.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPut, "/v1/apps/shop/drain", strings.NewReader(body)))
		return rec.Code
	}
	fresh := func() *Agent {
		t.Helper()
		a, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := fresh()
	for _, bad := range []string{``, `{}`, `{"drain":1}`, `{"drain":true,"x":1}`, `{"drain":true} 2`, `[]`} {
		if code := set(a, bad); code != 400 {
			t.Errorf("%q: %d, want 400", bad, code)
		}
	}
	if drained(a) || drained(fresh()) {
		t.Fatal("drained by nobody")
	}
	if set(a, `{"drain":true}`) != 200 || !drained(a) || !drained(fresh()) {
		t.Fatal("the drain was not remembered")
	}
	if set(a, `{"drain":false}`) != 200 || drained(a) || drained(fresh()) {
		t.Fatal("the end of the drain was not remembered")
	}
	// Where it cannot be remembered, nothing is changed, and it is said.
	if err := os.RemoveAll(o.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := set(a, `{"drain":true}`); code != 500 || drained(a) {
		t.Errorf("%d, drained %v; want 500 and nothing changed", code, drained(a))
	}
	if _, err := New(o); err == nil {
		t.Error("a file in the folder's place was accepted")
	}
}
