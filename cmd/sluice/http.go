package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-outbox/sluice/internal/config"
)

// listener serves metrics and health. It reads; nothing can be changed through it.
type listener struct {
	server *http.Server
	net    net.Listener
	log    *slog.Logger
}

// listen opens the address of the configuration, so that a taken port is found before the relay
// starts. nil: none is wanted.
func listen(c *config.Config, log *slog.Logger, metrics prometheus.Gatherer,
	ready func() error,
) (*listener, error) {
	if c.HTTP.Listen == "off" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf(
			"http.listen: %w (another relay on this machine? choose another address, or off)", err)
	}
	return &listener{
		net: l, log: log,
		server: &http.Server{
			Handler:           handler(c, metrics, ready),
			ReadHeaderTimeout: 5 * time.Second,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}, nil
}

func handler(c *config.Config, metrics prometheus.Gatherer, ready func() error) http.Handler {
	mux := http.NewServeMux()
	text := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, body) // the client has gone if this fails
	}
	// The process is alive if it answers. A relay that waits for Redis or Kafka must not be restarted.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		text(w, http.StatusOK, "ok")
	})
	if c.Telemetry.Prometheus {
		mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	}
	if c.HTTP.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// serve blocks until close. Any other end is an error.
func (l *listener) serve() error {
	l.log.Info("listening", "address", l.net.Addr().String(), "paths", "/metrics /livez /readyz")
	if tcp, ok := l.net.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		l.log.Warn("the listener is reachable from other machines and has no authentication: keep it "+
			"behind a network policy", "address", l.net.Addr().String())
	}
	if err := l.server.Serve(l.net); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http.listen: %w", err)
	}
	return nil
}

// serveWhile serves while run runs, and ends with it. A listener that fails ends run: a process
// that nobody can watch is better started anew.
func serveWhile(ctx context.Context, l *listener, run func(context.Context) error) error {
	if l == nil {
		return run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		err := l.serve()
		if err != nil {
			cancel()
		}
		served <- err
	}()
	err := run(ctx)
	l.close()
	return errors.Join(err, <-served)
}

// close lets requests end for a moment.
func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close() // a slow client does not hold up the end
	}
}
