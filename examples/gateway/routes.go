package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// target is an upstream: where it is, and whether TLS is spoken to it.
type target struct {
	addr string // host:port
	tls  bool
}

func (t target) String() string {
	if t.tls {
		return "tls://" + t.addr
	}
	return "tcp://" + t.addr
}

// route is what becomes of the frames of an app_proto_id. Without targets they are echoed.
type route struct{ targets []target }

// routes is the table of a configuration. It does not change: a reload makes another.
type routes struct {
	byApp map[uint16]*route
	any   *route // of "*"; nil: none
}

// find returns nil where there is no route.
func (r *routes) find(app uint16) *route {
	if to := r.byApp[app]; to != nil {
		return to
	}
	return r.any
}

// forwards says whether there is a route with an upstream.
func (r *routes) forwards() bool {
	if r.any != nil && len(r.any.targets) > 0 {
		return true
	}
	for _, to := range r.byApp {
		if len(to.targets) > 0 {
			return true
		}
	}
	return false
}

// parseRoutes reads forward.routes.
func parseRoutes(lines []string) (*routes, error) {
	if len(lines) > maxRoutes {
		return nil, fmt.Errorf("%d routes; allowed are up to %d", len(lines), maxRoutes)
	}
	all := &routes{byApp: map[uint16]*route{}}
	for _, line := range lines {
		app, to, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%q has no =; allowed are APP=echo and APP=UPSTREAM [UPSTREAM …]", line)
		}
		r, err := parseTargets(to)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if app = strings.TrimSpace(app); app == "*" {
			if all.any != nil {
				return nil, fmt.Errorf("%q: there is a route for * already; allowed is one", line)
			}
			all.any = r
			continue
		}
		id, err := strconv.ParseUint(app, 10, 16)
		if err != nil || id == 0 {
			return nil, fmt.Errorf("%q: %q is no app_proto_id; allowed are 1 to 65535 and *", line, app)
		}
		if all.byApp[uint16(id)] != nil {
			return nil, fmt.Errorf("%q: there is a route for %d already; allowed is one", line, id)
		}
		all.byApp[uint16(id)] = r
	}
	return all, nil
}

func parseTargets(s string) (*route, error) {
	words := strings.Fields(s)
	if len(words) == 1 && words[0] == "echo" {
		return &route{}, nil
	}
	if len(words) == 0 {
		return nil, errors.New("no upstream; allowed are echo, and tcp://host:port and tls://host:port")
	}
	r := &route{}
	for _, w := range words {
		scheme, addr, _ := strings.Cut(w, "://")
		host, port, err := net.SplitHostPort(addr)
		if (scheme != "tcp" && scheme != "tls") || err != nil || host == "" || !isPort(port, 1) {
			return nil, fmt.Errorf("%q is no upstream; allowed are tcp://host:port and tls://host:port, with a port from 1 to 65535", w)
		}
		r.targets = append(r.targets, target{addr: addr, tls: scheme == "tls"})
	}
	return r, nil
}

// readRoots reads the roots of a PEM file.
func readRoots(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, errors.New("it holds no certificate; allowed is a PEM file")
	}
	return roots, nil
}
