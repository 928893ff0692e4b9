package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds connecting and the TLS handshake together.
const dialTimeout = 5 * time.Second

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer connects to one side, with TLS if on. Certificates are read at every connection: a rotated
// one is used by the next connection, and by every connection once the old ones have ended.
func (c *Config) dialer(path string, t TLS, on bool) (dialFunc, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if !on {
		return plain.DialContext, nil
	}
	certs := &certificates{TLS: t}
	if _, err := certs.config(); err != nil {
		var wrong *fileError
		if errors.As(err, &wrong) {
			return nil, c.Problemf(path+"."+wrong.setting, "%v", wrong.err)
		}
		return nil, err
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		cfg, err := certs.config()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if cfg.ServerName == "" {
			if host, _, err := net.SplitHostPort(addr); err == nil {
				cfg.ServerName = host
			}
		}
		raw, err := plain.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, cfg)
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS to %s: %w", addr, err)
		}
		return conn, nil
	}, nil
}

// certificates makes a TLS configuration from the files as they are now.
type certificates struct {
	TLS

	mu   sync.Mutex
	last *tls.Config // the last one that could be read
}

// fileError says which setting names the file at fault.
type fileError struct {
	setting string
	err     error
}

func (e *fileError) Error() string { return e.setting + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// config reads the files. While they cannot be read or do not fit each other, as between the two
// writes of a rotation, the last good ones are used.
func (s *certificates) config() (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg, err := s.read()
	switch {
	case err == nil:
		s.last = cfg
	case s.last == nil:
		return nil, err
	}
	return s.last.Clone(), nil
}

func (s *certificates) read() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: s.ServerName,
		//nolint:gosec // the user's own choice; 'sluice check' warns of it
		InsecureSkipVerify: s.InsecureSkipVerify,
	}
	if s.CAFile != "" {
		pem, err := readFile(s.CAFile)
		if err != nil {
			return nil, &fileError{"ca_file", err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &fileError{"ca_file", fmt.Errorf("%s has no PEM certificate", s.CAFile)}
		}
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, &fileError{"cert_file", err}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
