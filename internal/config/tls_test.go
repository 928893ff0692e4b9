package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &key.PublicKey)
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, public *ecdsa.PublicKey) []byte {
	t.Helper()
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue gives a pair in PEM, good for both ends.
func (a *authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &k.PublicKey)
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// serve answers each connection with the name in the client's certificate.
func serve(t *testing.T, a *authority) string {
	t.Helper()
	cert, key := a.issue(t, "server.test")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{
			Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs: a.pool(), MinVersion: tls.VersionTLS12,
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if c := conn.(*tls.Conn); c.Handshake() == nil {
				_, _ = io.WriteString(c, c.ConnectionState().PeerCertificates[0].Subject.CommonName)
			}
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A certificate that is replaced on disk is used by the next connection; while the two files do not
// fit each other, as between the two writes, the last good pair is used.
func TestCertificatesRotate(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	settings := TLS{
		CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"),
		KeyFile: filepath.Join(dir, "key"), ServerName: "server.test",
	}
	cert, key := a.issue(t, "first")
	put(t, settings.CAFile, a.pem())
	put(t, settings.CertFile, cert)
	put(t, settings.KeyFile, key)
	c := &Config{}
	dial, err := c.dialer("kafka.tls", settings, true)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(addr, want string) {
		t.Helper()
		conn, err := dial(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got, _ := io.ReadAll(conn); string(got) != want {
			t.Errorf("the server saw %q, want %q", got, want)
		}
	}
	addr := serve(t, a)
	ask(addr, "first")

	cert, key = a.issue(t, "second")
	put(t, settings.CertFile, cert)
	ask(addr, "first")
	put(t, settings.KeyFile, key)
	ask(addr, "second")

	// The authorities, too.
	b := newAuthority(t)
	cert, key = b.issue(t, "third")
	addr = serve(t, b)
	if conn, err := dial(t.Context(), "tcp", addr); err == nil {
		_ = conn.Close()
		t.Fatal("a server of another authority was accepted")
	}
	put(t, settings.CAFile, b.pem())
	put(t, settings.CertFile, cert)
	put(t, settings.KeyFile, key)
	ask(addr, "third")
}

// Without server_name the certificate must be for the host that was dialled.
func TestServerNameIsTheHost(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	put(t, ca, a.pem())
	dial, err := (&Config{}).dialer("kafka.tls", TLS{CAFile: ca}, true)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial(t.Context(), "tcp", serve(t, a))
	if err == nil {
		_ = conn.Close()
		t.Error("a certificate for another name was accepted")
	}
}

// A server that accepts and then says nothing does not hold up a dial for ever.
func TestHandshakeHasADeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial, err := (&Config{}).dialer("kafka.tls", TLS{Enabled: true}, true)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	conn, err := dial(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		_ = conn.Close()
		t.Fatal("a handshake with silence succeeded")
	}
	if took := time.Since(began); took > 2*dialTimeout {
		t.Errorf("took %s", took)
	}
}
