package udp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// echoServer runs an unmodified quic-go server on conn until the test's end.
func echoServer(t *testing.T, conn net.PacketConn) (stop func()) {
	t.Helper()
	tr := &quic.Transport{Conn: conn}
	ln, err := tr.Listen(certificate(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			wg.Go(func() {
				for {
					s, err := c.AcceptStream(context.Background())
					if err != nil {
						return
					}
					wg.Go(func() {
						_, _ = io.Copy(s, s)
						_ = s.Close()
					})
				}
			})
		}
	})
	return func() {
		_ = ln.Close()
		_ = tr.Close()
		wg.Wait()
	}
}

// echo dials and has data sent back over some streams at once.
func echo(t *testing.T, conn net.PacketConn, to net.Addr, streams, size int) {
	t.Helper()
	tr := &quic.Transport{Conn: conn}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := tr.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range streams {
		s, err := c.OpenStreamSync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		_, _ = rand.Read(data)
		wg.Go(func() {
			_, _ = s.Write(data)
			_ = s.Close()
		})
		wg.Go(func() {
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data) {
				t.Errorf("sent %d bytes, got %d back, error %v", len(data), len(got), err)
			}
		})
	}
	wg.Wait()
	_ = c.CloseWithError(0, "")
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

// TestQUIC: unmodified quic-go talks over two of our sockets, and over one of ours and one of the standard library's, with
// every combination of offloads and in both families.
func TestQUIC(t *testing.T) {
	for name, c := range map[string]struct {
		server, target, client string
		so, co                 Options
	}{
		"IPv4":                   {"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0", Options{}, Options{}},
		"IPv6":                   {"[::1]:0", "::1", "[::1]:0", Options{}, Options{}},
		"wildcard with IPv4":     {"[::]:0", "127.0.0.1", "127.0.0.1:0", Options{}, Options{}},
		"wildcard with IPv6":     {"[::]:0", "::1", "[::1]:0", Options{}, Options{}},
		"IPv4 wildcard":          {"0.0.0.0:0", "127.0.0.1", "[::]:0", Options{}, Options{}},
		"server without offload": {"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0", Options{DisableGRO: true, DisableGSO: true}, Options{}},
		"client without offload": {"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0", Options{}, Options{DisableGRO: true, DisableGSO: true}},
		"neither with offload":   {"[::]:0", "::1", "[::]:0", Options{DisableGRO: true, DisableGSO: true}, Options{DisableGRO: true, DisableGSO: true}},
		"stock client":           {"127.0.0.1:0", "127.0.0.1", "", Options{}, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			ss := mustOpen(t, netip.MustParseAddrPort(c.server), c.so)[0]
			defer watch(t, ss).close()
			defer echoServer(t, ss)()
			to := &net.UDPAddr{IP: net.ParseIP(c.target), Port: udpAddr(ss).Port}
			if c.client == "" {
				pc, err := net.ListenUDP("udp", nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = pc.Close() }()
				echo(t, pc, to, 4, 256<<10)
				return
			}
			cs := mustOpen(t, netip.MustParseAddrPort(c.client), c.co)[0]
			defer watch(t, cs).close()
			echo(t, cs, to, 4, 256<<10)
			coalesced := c.so == Options{} && c.co == Options{} // on loopback the kernel coalesces only what was sent so
			for who, s := range map[string]*Socket{"server": ss, "client": cs} {
				st := s.Stats()
				if st.DatagramsIn == 0 || st.DatagramsOut == 0 || st.BytesIn < 1<<20 || st.BytesOut < 1<<20 {
					t.Errorf("%s: %+v", who, st)
				}
				if coalesced != (st.Coalesced > 0) {
					t.Errorf("%s: offload %+v, %d coalesced datagrams", who, s.Offload(), st.Coalesced)
				}
				if st.Truncated+st.SendErrors+st.ReadErrors != 0 {
					t.Errorf("%s: errors: %+v", who, st)
				}
			}
		})
	}
}
