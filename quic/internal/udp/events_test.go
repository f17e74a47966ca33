package udp

import (
	"bytes"
	"log/slog"
	"net"
	"regexp"
	"testing"
)

// TestEvents freezes what the logger is told (docs/metrics.md): people search for it.
func TestEvents(t *testing.T) {
	var out bytes.Buffer
	s := &Socket{local: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}
	s.sent, s.rcvd = buffer{asked: 100, granted: 60}, buffer{asked: 200, granted: 80}
	s.report(&Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	got := regexp.MustCompile(`(time=\S+ |missing="[^"]*")`).ReplaceAllString(out.String(), "")
	want := `level=WARN msg="UDP offload not available"  addr=127.0.0.1:1
level=WARN msg="UDP socket buffers smaller than configured" addr=127.0.0.1:1 send=100 send_granted=30 recv=200 recv_granted=40
`
	if got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}
