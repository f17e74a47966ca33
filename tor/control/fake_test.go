package control

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeTor answers commands as a function says; it is the other end of a connection.
type fakeTor struct {
	answer func(line string) string // "": no answer; "!": the connection ends
	mu     sync.Mutex
	heard  []string
}

// serve answers on one connection.
func (f *fakeTor) serve(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	for {
		s, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s = strings.TrimSuffix(s, "\r\n")
		f.mu.Lock()
		f.heard = append(f.heard, s)
		f.mu.Unlock()
		switch a := f.answer(s); a {
		case "":
		case "!":
			return
		default:
			if _, err := nc.Write([]byte(a)); err != nil {
				return
			}
		}
	}
}

// lines is what has been heard.
func (f *fakeTor) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.heard...)
}

// listen serves on a unix socket until the test ends, and returns its path.
func (f *fakeTor) listen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := lis.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(nc) })
		}
	})
	t.Cleanup(func() { _ = lis.Close(); wg.Wait() })
	return path
}

// dialFake connects to a fake tor.
func dialFake(t *testing.T, f *fakeTor, o Options) *Conn {
	t.Helper()
	noLeaks(t)
	path := f.listen(t)
	c, err := Dial(short(t), "unix", path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// noLeaks checks that no goroutine is left when what the test cleans up after this call is cleaned up.
func noLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

// short is a context for calls that must succeed.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// safeCookie is the server's side of SAFECOOKIE.
type safeCookie struct {
	cookie       []byte
	ours, theirs []byte
}

// challenge answers AUTHCHALLENGE. key is the cookie that the server knows.
func (s *safeCookie) challenge(line string, key []byte) string {
	s.theirs, _ = hex.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
	s.ours = make([]byte, cookieLen)
	_, _ = rand.Read(s.ours)
	return "250 AUTHCHALLENGE SERVERHASH=" + strings.ToUpper(hex.EncodeToString(cookieProof(serverHashKey, key, s.theirs, s.ours))) +
		" SERVERNONCE=" + strings.ToUpper(hex.EncodeToString(s.ours)) + "\r\n"
}

// authenticate answers AUTHENTICATE.
func (s *safeCookie) authenticate(line string) string {
	if line == "AUTHENTICATE "+hex.EncodeToString(cookieProof(clientHashKey, s.cookie, s.theirs, s.ours)) {
		return "250 OK\r\n"
	}
	return "515 Authentication failed: Safe cookie response did not match expected value.\r\n"
}
