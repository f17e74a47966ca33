package hostile

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// stopAfter runs r until done says so.
func stopAfter(t *testing.T, r *Resets, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	for !done() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
}

func serverConfig(t *testing.T) *tls.Config {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	c, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13}
}

// A TLS server sees a whole request, a part of another, and a reset: not an end in good order.
func TestResetTLS(t *testing.T) {
	lis, err := tls.Listen("tcp", "127.0.0.1:0", serverConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	type end struct {
		n   int64
		err error
	}
	ends := make(chan end, 1)
	go func() {
		c, err := lis.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, wrote := c.Write(make([]byte, 64<<10)) // the answer that is not read
		n, err := io.Copy(io.Discard, c)
		ends <- end{n, errors.Join(wrote, err)} // the kernel tells of a reset once, to whichever comes first
	}()
	r := &Resets{Every: time.Millisecond, Rand: rand.New(rand.NewPCG(1, 1)), Open: ResetTLS(lis.Addr().String(), &tls.Config{InsecureSkipVerify: true})}
	stopAfter(t, r, func() bool { done, _ := r.Counts(); return done > 0 })
	select {
	case e := <-ends:
		if !errors.Is(e.err, syscall.ECONNRESET) {
			t.Errorf("the server saw %v after %d bytes, want a reset", e.err, e.n)
		}
	case <-time.After(patience):
		t.Fatal("the server saw no end")
	}
}

// Connections that cannot be opened are counted as such, and Run goes on.
func TestResetsThatFail(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close() // nobody listens there now
	r := &Resets{Every: time.Millisecond, Rand: rand.New(rand.NewPCG(1, 1)), Open: ResetTLS(addr, &tls.Config{InsecureSkipVerify: true})}
	stopAfter(t, r, func() bool { _, failed := r.Counts(); return failed > 2 })
	if done, failed := r.Counts(); done != 0 || failed < 3 {
		t.Errorf("%d reset, %d failed", done, failed)
	}
}

// A QUIC server's connections are reset one after the other, and no descriptor of the client stays for each.
func TestResetQUIC(t *testing.T) {
	srv, err := quicgo.Listen("127.0.0.1:0", serverConfig(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	r := &Resets{Every: time.Millisecond, Rand: rand.New(rand.NewPCG(1, 1)), Open: ResetQUIC(srv.Addr().String(), &tls.Config{InsecureSkipVerify: true})}
	fds := -1
	stopAfter(t, r, func() bool {
		done, _ := r.Counts()
		if done >= 5 && fds < 0 {
			fds = openFDs(t)
		}
		return done >= 40
	})
	if done, failed := r.Counts(); done < 40 || failed > 1 { // the end of the run cuts one off
		t.Fatalf("%d reset, %d failed", done, failed)
	}
	if now := openFDs(t); now > fds+5 {
		t.Errorf("%d descriptors after 40 connections, %d after 5", now, fds)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
