package main

import (
	stdtls "crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// announced connects as a balancer that says where the client is, "" for one that says nothing, and returns the connection after the handshake.
func announced(t *testing.T, s *site, addr, client string) (*stdtls.Conn, error) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = raw.Close() })
	if client != "" {
		from := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
		if _, err := proxyproto.HeaderProxyFromAddrs(2, from, raw.RemoteAddr()).WriteTo(raw); err != nil {
			t.Fatal(err)
		}
	}
	c := stdtls.Client(raw, s.ca.client())
	return c, c.Handshake()
}

// TestProxyHeader: behind a balancer limits and log go by the client that it announces, and nobody comes without.
func TestProxyHeader(t *testing.T) {
	s := newSite(t)
	front := launch(t, s.config(""), "--tls-proxy-trusted=127.0.0.1", "--limits-max-conns-per-peer=1")
	at := front.addr("tls")
	for _, client := range []string{"192.0.2.1:1001", "192.0.2.2:1002"} {
		if _, err := announced(t, s, at, client); err != nil {
			t.Errorf("%s, one of two clients of a balancer: %v", client, err)
		}
	}
	again, err := announced(t, s, at, "192.0.2.1:1003")
	if err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(again); !strings.Contains(string(said), "peer_limit") {
		t.Errorf("the same client once more heard %q", said)
	}
	if _, err := announced(t, s, at, ""); err == nil {
		t.Error("a connection without a header was served")
	}
	front.log("connection not opened", map[string]string{"reason": "bad_frame"})
	_ = again.Close()
	front.log("connection not opened", map[string]string{"reason": "peer_limit", "remote": "192.0.2.1:1003"})
}

// TestProxyDirect: others than balancers are refused, unless they may come as what they are.
func TestProxyDirect(t *testing.T) {
	s := newSite(t)
	for _, direct := range []bool{false, true} {
		front := launch(t, s.config(""), "--tls-proxy-trusted=192.0.2.9", fmt.Sprintf("--tls-proxy-direct=%t", direct))
		if _, err := announced(t, s, front.addr("tls"), ""); (err == nil) != direct {
			t.Errorf("direct %t, without a header: %v", direct, err)
		}
		if _, err := announced(t, s, front.addr("tls"), "192.0.2.1:1001"); err == nil {
			t.Errorf("direct %t: a header from nobody's balancer was believed", direct)
		}
	}
}

// TestProxyHandover: the socket that a successor takes over is still one that balancers announce their clients on.
func TestProxyHandover(t *testing.T) {
	s := newSite(t)
	args := []string{"--tls-proxy-trusted=127.0.0.1", "--tls-handover=" + filepath.Join(s.dir, "h")}
	one := launch(t, s.config(""), args...)
	addr := one.addr("tls")
	two := launch(t, s.config(""), args...)
	one.ends(0)
	if _, err := announced(t, s, addr, "192.0.2.1:1001"); err != nil {
		t.Errorf("the successor refuses a client of the balancer: %v", err)
	}
	if _, err := announced(t, s, addr, ""); err == nil {
		t.Error("the successor serves a connection without a header")
	}
	two.log("connection not opened", map[string]string{"reason": "bad_frame"})
}
