package reactor

import (
	"bufio"
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ron-transport/ron-transport/tls"
)

// v2 is a version 2 header: command and family, then the rest.
func v2(cmd, family byte, rest string) string {
	return proxyV2 + string([]byte{cmd, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	addrs4 = "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb" // 1.2.3.4:80 to 5.6.7.8:443
	addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x50\x01\xbb"
	tlv    = "\x04\x00\x05hello"
)

type proxyCase struct {
	name, header string
	ok           bool
	src, dst     string // "": the socket's own
}

func proxyCases() []proxyCase {
	bad := func(name, header string) proxyCase { return proxyCase{name: name, header: header} }
	own := func(name, header string) proxyCase { return proxyCase{name: name, header: header, ok: true} }
	return []proxyCase{
		{"v1 tcp4", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", true, "1.2.3.4:80", "5.6.7.8:443"},
		{"v1 tcp6", "PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n", true, "[2001:db8::1]:80", "[2001:db8::2]:443"},
		{"v1 mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 80 443\r\n", true, "1.2.3.4:80", "5.6.7.8:443"},
		own("v1 unknown", "PROXY UNKNOWN\r\n"),
		own("v1 unknown with noise", "PROXY UNKNOWN ffff:f...f:ffff what ever 65535\r\n"),
		own("v1 longest", "PROXY UNKNOWN "+strings.Repeat("f", 107-16)+"\r\n"),
		bad("v1 too long", "PROXY UNKNOWN "+strings.Repeat("f", 107-15)+"\r\n"),
		bad("v1 no carriage return", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\n"),
		bad("v1 lower case", "proxy TCP4 1.2.3.4 5.6.7.8 80 443\r\n"),
		bad("v1 port too large", "PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n"),
		bad("v1 leading zero", "PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n"),
		bad("v1 sign", "PROXY TCP4 1.2.3.4 5.6.7.8 +80 443\r\n"),
		bad("v1 family mismatch", "PROXY TCP4 2001:db8::1 2001:db8::2 80 443\r\n"),
		bad("v1 zone", "PROXY TCP6 fe80::1%lo fe80::2 80 443\r\n"),
		bad("v1 two spaces", "PROXY  TCP4 1.2.3.4 5.6.7.8 80 443\r\n"),
		bad("v1 field missing", "PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n"),
		bad("v1 field too many", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443 x\r\n"),
		bad("v1 udp", "PROXY UDP4 1.2.3.4 5.6.7.8 80 443\r\n"),
		{"v2 tcp4", v2(proxyProxy, proxyTCP4, addrs4), true, "1.2.3.4:80", "5.6.7.8:443"},
		{"v2 tcp4 with TLVs", v2(proxyProxy, proxyTCP4, addrs4+tlv+tlv), true, "1.2.3.4:80", "5.6.7.8:443"},
		{"v2 tcp6", v2(proxyProxy, proxyTCP6, addrs6), true, "[2001:db8::1]:80", "[2001:db8::2]:443"},
		{"v2 longest", v2(proxyProxy, proxyTCP4, addrs4+strings.Repeat("x", maxProxyV2-12)), true, "1.2.3.4:80", "5.6.7.8:443"},
		own("v2 local", v2(proxyLocal, proxyUnspec, "")),
		own("v2 local with addresses", v2(proxyLocal, proxyTCP4, addrs4)),
		own("v2 local, short", v2(proxyLocal, proxyTCP4, "xy")),
		own("v2 local, datagrams", v2(proxyLocal, proxyUDP4, addrs4)),
		own("v2 unspec", v2(proxyProxy, proxyUnspec, "")),
		own("v2 unspec with TLVs", v2(proxyProxy, proxyUnspec, tlv)),
		own("v2 unix", v2(proxyProxy, proxyUnix, strings.Repeat("s", 216))),
		bad("v2 too long", v2(proxyProxy, proxyTCP4, addrs4+strings.Repeat("x", maxProxyV2-11))),
		bad("v2 tcp4 too short", v2(proxyProxy, proxyTCP4, addrs4[1:])),
		bad("v2 tcp6 too short", v2(proxyProxy, proxyTCP6, addrs4)),
		bad("v2 unix too short", v2(proxyProxy, proxyUnix, addrs6)),
		bad("v2 udp", v2(proxyProxy, proxyUDP4, addrs4)),
		bad("v2 version 1", v2(0x11, proxyTCP4, addrs4)),
		bad("v2 command 2", v2(0x22, proxyTCP4, addrs4)),
		bad("v2 family 4", v2(proxyProxy, 0x41, addrs4)),
		bad("v2 transport 3", v2(proxyProxy, 0x13, addrs4)),
		bad("v2 local, family 4", v2(proxyLocal, 0x41, "")),
		bad("v2 signature", strings.Replace(v2(proxyProxy, proxyTCP4, addrs4), "QUIT", "QUIZ", 1)),
		bad("tls", "\x16\x03\x01\x02\x00"),
		bad("nothing of it", "\x00"),
	}
}

// parseSplit feeds b to the parser in pieces, as the loop does: everything since the start, each time.
func parseSplit(b []byte, pieces func(at int) int) (h proxied, n int, err error) {
	for at := 0; at < len(b) && n == 0 && err == nil; {
		at = min(len(b), at+max(1, pieces(at)))
		h, n, err = parseProxy(b[:at:at])
	}
	return h, n, err
}

func TestProxyHeaders(t *testing.T) {
	text := func(ap netip.AddrPort) string {
		if !ap.IsValid() {
			return ""
		}
		return ap.String()
	}
	for _, tt := range proxyCases() {
		b := []byte(tt.header + "rest")
		for split := 1; split <= len(b); split += 1 + len(b)/300 {
			h, n, err := parseSplit(b, func(int) int { return split })
			if (err == nil) != tt.ok || text(h.src) != tt.src || text(h.dst) != tt.dst {
				t.Fatalf("%s, pieces of %d: %v, %v", tt.name, split, h, err)
			}
			if tt.ok && n != len(tt.header) {
				t.Fatalf("%s, pieces of %d: length %d, want %d", tt.name, split, n, len(tt.header))
			}
			if !tt.ok && (!errors.Is(err, ErrProxyHeader) || reasonOf(err) != ReasonBadFrame) {
				t.Fatalf("%s: error %v, reason %q", tt.name, err, reasonOf(err))
			}
		}
	}
}

// FuzzProxyHeader checks that the verdict does not depend on the splits, that nothing beyond the bounds is waited for, and
// that it is go-proxyproto's own verdict on the whole stream where the two are meant to agree.
func FuzzProxyHeader(f *testing.F) {
	for _, tt := range proxyCases() {
		f.Add([]byte(tt.header+"rest"), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		h, n, err := parseProxy(b)
		if len(b) > 0 && n == 0 && err == nil && len(b) >= 16+maxProxyV2 {
			t.Fatalf("waits for more than %d bytes", len(b))
		}
		for _, pieces := range []func(int) int{func(int) int { return 1 }, func(at int) int { return int(step)*at%17 + int(step) }} {
			h2, n2, err2 := parseSplit(b, pieces)
			if h2 != h || n2 != n || (err2 == nil) != (err == nil) || err != nil && err.Error() != err2.Error() {
				t.Fatalf("whole: %v %d %v, split: %v %d %v", h, n, err, h2, n2, err2)
			}
		}
		p, theirs := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), 8192))
		whole := n > 0 && err == nil
		switch {
		case whole && len(b) > 13 && b[0] == '\r' && b[13] == proxyUnspec: // theirs refuses PROXY with UNSPEC
		case whole != (theirs == nil):
			if theirs == nil && p.TransportProtocol.IsDatagram() { // ours refuses datagrams
				return
			}
			t.Fatalf("ours: %d %v, theirs: %v", n, err, theirs)
		case whole && h.src.IsValid():
			src, _, _ := p.TCPAddrs()
			if addrPortOf(src) != h.src {
				t.Fatalf("ours %v, theirs %v", h.src, src)
			}
		}
	})
}

// proxyListener is a listener that trusts the loopback network.
func proxyListener(t *testing.T, r *Reactor, lc ListenConfig) *Listener {
	t.Helper()
	lc.Proxy = &ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	lis, err := r.Listen("tcp", "127.0.0.1:0", lc)
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

func TestProxyPlainAndTLS(t *testing.T) {
	cert, pool := certificate(t)
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, secured := range []bool{false, true} {
		r := start(t, Config{})
		seen := make(chan [2]string, 1)
		s := echo
		s.open = func(c *Conn) { seen <- [2]string{c.RemoteAddr().String(), c.LocalAddr().String()} }
		lc := ListenConfig{Protocol: s.with}
		if secured {
			lc.Filter = func() Filter { return srv.Conn() }
		}
		lis := proxyListener(t, r, lc)
		for _, tt := range proxyCases() {
			if !tt.ok {
				continue
			}
			for _, split := range []int{1 << 20, 7} {
				tcp := dialNet(t, lis)
				want := [2]string{tt.src, tt.dst}
				if tt.src == "" {
					want = [2]string{tcp.LocalAddr().String(), tcp.RemoteAddr().String()}
				}
				w := &joined{TCPConn: tcp, head: []byte(tt.header), split: split}
				var c net.Conn = w
				if secured {
					c = stdtls.Client(w, &stdtls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}})
				}
				if err := echoes(c); err != nil {
					t.Fatalf("%s, TLS %v: %v", tt.name, secured, err)
				}
				if got := <-seen; got != want {
					t.Errorf("%s, TLS %v: %v, want %v", tt.name, secured, got, want)
				}
				_ = tcp.Close()
			}
		}
	}
}

// joined sends the header together with the first bytes that follow it, or in pieces before them.
type joined struct {
	*net.TCPConn
	head  []byte
	split int
}

func (j *joined) Write(p []byte) (int, error) {
	b := append(j.head, p...)
	head := len(j.head)
	j.head = nil
	for head > 0 && len(b) > j.split && j.split < 100 && len(b) < 400 { // long headers in small pieces take too long
		if _, err := j.TCPConn.Write(b[:j.split]); err != nil {
			return 0, err
		}
		b = b[j.split:]
		time.Sleep(100 * time.Microsecond)
	}
	_, err := j.TCPConn.Write(b)
	return len(p), err
}

func TestProxyRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		send   string
		end    bool // end the stream
		cause  error
		reason string
	}{
		{"bad header", "GET / HTTP/1.1\r\n", false, ErrProxyHeader, ReasonBadFrame},
		{"silent", "", false, ErrHandshakeTimeout, ReasonHandshakeTimeout},
		{"stops inside", "PROXY TCP4 1.2", false, ErrHandshakeTimeout, ReasonHandshakeTimeout},
		{"ends inside", "PROXY TCP4 1.2", true, errProxyIncomplete, ReasonIO},
		{"ends at once", "", true, errProxyIncomplete, ReasonIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{HandshakeTimeout: 200 * time.Millisecond})
			var k closes
			lis := proxyListener(t, r, ListenConfig{Protocol: echo.with, OnError: func(_ net.Addr, err error) { k.add(nil, err) }})
			c := dialNet(t, lis)
			_, _ = c.Write([]byte(tt.send))
			if tt.end {
				_ = c.CloseWrite()
			}
			if err := k.one(t); !errors.Is(err, tt.cause) || reasonOf(err) != tt.reason {
				t.Errorf("cause %v, reason %q", err, reasonOf(err))
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("it is still open")
			}
			failed := uint64(1)
			if tt.cause == ErrHandshakeTimeout {
				failed = 0 // counted as Expired
			}
			waitFor(t, "counters", func() bool {
				s := r.Stats()
				return s.Conns == 0 && s.ProxyFailed == failed && s.ClosedBy[tt.reason] == 1
			})
		})
	}
}

func TestProxyUntrustedSources(t *testing.T) {
	r := start(t, Config{})
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	header := []byte("PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n")

	var k closes
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with, Proxy: &ProxyConfig{Trusted: elsewhere},
		OnError: func(_ net.Addr, err error) { k.add(nil, err) }})
	if err != nil {
		t.Fatal(err)
	}
	c := dialNet(t, lis)
	_, _ = c.Write(header)
	if err := k.one(t); err != ErrPeerRefused {
		t.Errorf("cause %v", err)
	}
	waitFor(t, "counter", func() bool { return r.Stats().RefusedPeers == 1 })

	seen := make(chan string, 1)
	s := echo
	s.open = func(c *Conn) { seen <- c.RemoteAddr().String() }
	lis, err = r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: s.with, Proxy: &ProxyConfig{Trusted: elsewhere, Direct: true}})
	if err != nil {
		t.Fatal(err)
	}
	c = dialNet(t, lis)
	_, _ = c.Write(header)
	got := make([]byte, len(header))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, header) {
		t.Errorf("%q, %v: a direct peer's header is data", got, err)
	}
	if from := <-seen; from != c.LocalAddr().String() {
		t.Errorf("remote address %v", from)
	}
}

func TestProxyOnAUnixSocket(t *testing.T) {
	r := start(t, Config{})
	seen := make(chan string, 1)
	s := echo
	s.open = func(c *Conn) { seen <- c.RemoteAddr().String() }
	path := filepath.Join(t.TempDir(), "s")
	if _, err := r.Listen("unix", path, ListenConfig{Protocol: s.with, Proxy: &ProxyConfig{}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n"))
	if from := <-seen; from != "1.2.3.4:80" {
		t.Errorf("remote address %v", from)
	}
	if err := echoes(c); err != nil {
		t.Error(err)
	}
}

func TestProxyConfigIsValidated(t *testing.T) {
	r := start(t, Config{})
	for _, tt := range []struct {
		network string
		p       ProxyConfig
		want    string
	}{
		{"tcp", ProxyConfig{}, "Proxy.Trusted has 0"},
		{"tcp", ProxyConfig{Trusted: make([]netip.Prefix, maxTrusted+1)}, "257"},
		{"tcp", ProxyConfig{Trusted: make([]netip.Prefix, 1)}, "Proxy.Trusted[0]"},
		{"tcp", ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "not mapped"},
		{"tcp", ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0")}}, "Trusted[1] is 0.0.0.0/0"},
		{"tcp", ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("::/0")}}, "one bit at least"},
		{"unix", ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "only for TCP"},
		{"udp", ProxyConfig{}, `network is "udp", allowed are tcp`},
	} {
		addr := "127.0.0.1:0"
		if tt.network == "unix" {
			addr = filepath.Join(t.TempDir(), "s")
		}
		lc := ListenConfig{Protocol: echo.with, Proxy: &tt.p}
		if _, err := r.Listen(tt.network, addr, lc); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %v: %v", tt.network, tt.p, err)
		}
		if err := lc.Validate(tt.network); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate: %s %v: %v", tt.network, tt.p, err)
		}
	}
	for network, p := range map[string]ProxyConfig{"tcp6": {Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "unix": {}} {
		if err := (ListenConfig{Protocol: echo.with, Proxy: &p}).Validate(network); err != nil {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// Shutdown does not wait for a header that never comes.
func TestProxyShutdown(t *testing.T) {
	r := start(t, Config{HandshakeTimeout: time.Minute, ShutdownGrace: 100 * time.Millisecond})
	lis := proxyListener(t, r, ListenConfig{Protocol: echo.with})
	_ = dialNet(t, lis)
	waitFor(t, "accept", func() bool { return r.Stats().Conns == 1 })
}
