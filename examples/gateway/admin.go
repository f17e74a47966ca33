package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

// admin is the HTTP listener for probes and scrapers. It shows addresses and paths of this machine, so it belongs on the loopback, or on
// a network of operators.
type admin struct {
	lis net.Listener
	srv *http.Server
}

// openAdmin opens the admin listener. serveAdmin has it answer.
func (a *app) openAdmin(c *Config) error {
	if c.Admin == "" {
		return nil
	}
	var lc net.ListenConfig
	if c.TLS.Handover != "" { // a successor starts while we are there
		lc.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
			if cerr != nil {
				return cerr
			}
			return err
		}
	}
	lis, err := lc.Listen(context.Background(), "tcp", c.Admin)
	if err != nil {
		return err
	}
	a.admin = &admin{lis: netutil.LimitListener(lis, maxAdminConns), srv: &http.Server{ReadTimeout: adminTime, WriteTimeout: adminTime,
		IdleTimeout: adminTime, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}}
	return nil
}

// serveAdmin has the admin listener answer, when all that it tells of is there.
func (a *app) serveAdmin() {
	if a.admin == nil {
		return
	}
	a.admin.srv.Handler = a.routes()
	a.work.Go(func() {
		if err := a.admin.srv.Serve(a.admin.lis); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("admin listener ended", "reason", reasonOf(err), "err", err)
		}
	})
	a.log.Info("listening", "transport", "admin", "addr", a.admin.lis.Addr().String())
}

// routes are the admin listener's paths.
func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	return mux
}

// readyz answers 200 while the gateway is ready or degraded, else 503; with ?transport=NAME for that transport alone, and 404 where it
// is off.
func (a *app) readyz(w http.ResponseWriter, req *http.Request) {
	r := a.report()
	state, body := r.State, any(r)
	if name := req.URL.Query().Get("transport"); name != "" {
		t, on := r.Transports[name]
		if !on {
			http.Error(w, "this transport is off", http.StatusNotFound)
			return
		}
		state, body = t.State, t
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if state == readiness.NotReady {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // a prober that has gone needs no answer
}

// close ends the admin listener.
func (ad *admin) close() {
	if ad != nil {
		_ = ad.srv.Close()
		_ = ad.lis.Close() // it may not have been served
	}
}
