package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLS names PEM files. On the agent's side Cert and Key are required and CA, when given, has signed every client that may
// call; on the client's side CA has signed the agent (the system's authorities when empty), and Cert and Key, both or none,
// are what the client shows.
type TLS struct{ Cert, Key, CA string }

// certificate keeps a certificate and its key, and reads them again when the certificate's file has changed: a renewed one
// is used from the next connection on, and a broken one is not.
type certificate struct {
	cert, key string

	mu   sync.Mutex
	read time.Time
	pair *tls.Certificate
}

func newCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	info, err := os.Stat(cert)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate: %w", err)
	}
	return c, c.load(info.ModTime())
}

func (c *certificate) load(at time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read the TLS certificate %s and its key %s: %w", c.cert, c.key, err)
	}
	c.pair, c.read = &pair, at
	return nil
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, err := os.Stat(c.cert); err == nil && !info.ModTime().Equal(c.read) {
		// The key may be renewed a moment later than the certificate: until they fit, the pair before is used.
		_ = c.load(info.ModTime())
	}
	return c.pair
}

// authorities reads the certificates that are trusted.
func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the TLS authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the TLS authorities: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// server is the agent's side; nil without TLS.
func (t *TLS) server() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cert, err := newCertificate(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil }}
	if t.CA != "" {
		if c.ClientCAs, err = authorities(t.CA); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// client is the controller's side; nil means the system's authorities and no certificate.
func (t *TLS) client() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	var err error
	if t.CA != "" {
		if c.RootCAs, err = authorities(t.CA); err != nil {
			return nil, err
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("a TLS certificate and its key belong together, and one of them is missing")
	}
	if t.Cert != "" {
		cert, err := newCertificate(t.Cert, t.Key)
		if err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.get(), nil }
	}
	return c, nil
}
