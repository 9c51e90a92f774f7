package conf

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
)

// clientTLS reads the section of a node whose agent speaks HTTPS.
func (s *source) clientTLS(key string, raw *rawClientTLS, url string) *TLS {
	if raw == nil {
		return nil
	}
	if !strings.HasPrefix(url, "https://") {
		s.fail(key, "{...}", "no such section, as long as the url does not begin with https://")
	}
	t := &TLS{CA: s.authorities(key+".ca", raw.CA)}
	if raw.Cert != "" || raw.Key != "" {
		t.Cert, t.Key = s.pair(key, raw.Cert, raw.Key)
	}
	return t
}

// serverTLS reads the section of an agent that speaks HTTPS.
func (s *source) serverTLS(key string, raw *rawServerTLS) *TLS {
	if raw == nil {
		return nil
	}
	t := &TLS{CA: s.authorities(key+".client_ca", raw.ClientCA)}
	t.Cert, t.Key = s.pair(key, raw.Cert, raw.Key)
	return t
}

// pair checks a certificate and its key. With LoadPolicy nothing is read.
func (s *source) pair(key, cert, private string) (string, string) {
	before := len(s.problems)
	cert, private = s.path(key+".cert", cert, ""), s.path(key+".key", private, "")
	if s.policyOnly || len(s.problems) > before {
		return cert, private
	}
	if _, err := tls.LoadX509KeyPair(cert, private); err != nil {
		s.fail(key+".cert", cert, "a PEM certificate that belongs to the key %s (%v)", private, unwrapped(err))
	}
	return cert, private
}

func (s *source) authorities(key, file string) string {
	if file == "" {
		return ""
	}
	before := len(s.problems)
	if s.path(key, file, ""); s.policyOnly || len(s.problems) > before {
		return file
	}
	pem, err := os.ReadFile(file)
	switch {
	case err != nil:
		s.fail(key, file, "a readable file of PEM certificates (%v)", unwrapped(err))
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		s.fail(key, file, "a file of PEM certificates")
	}
	return file
}
