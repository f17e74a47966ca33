package framer

import (
	"fmt"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, v := range []struct {
		o    Options
		want string
	}{
		{Options{MaxFrame: 1023}, "MaxFrame is 1023, allowed are 1024 to 1048576"},
		{Options{MaxFrame: MaxFrame + 1}, "MaxFrame is 1048577"},
		{Options{MaxFrame: -1}, "MaxFrame is -1"},
		{Options{MaxInflight: 65}, "MaxInflight is 65, allowed are 1 to 64"},
		{Options{MaxInflight: -1}, "MaxInflight is -1"},
		{Options{MaxStreams: 65537}, "MaxStreams is 65537, allowed are 1 to 65536"},
		{Options{Transports: []string{strings.Repeat("x", 1000)}}, "Transports make a HELLO reply of"},
	} {
		if _, err := NewEndpoint(&fakeHandler{}, v.o); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%+v: %v, want %q", v.o, err, v.want)
		}
	}
	if _, err := NewEndpoint(nil, Options{}); err == nil {
		t.Error("no handler is needed")
	}
	st := new(Stats)
	list := []string{"quic"}
	e, err := NewEndpoint(&fakeHandler{}, Options{Stats: st, Transports: list})
	if err != nil || e.Stats() != st || e.o.MaxFrame != MaxFrame || e.o.MaxInflight != 64 || e.o.MaxStreams != 1024 || e.o.MaxInflated != 8<<20 || e.o.EarlyApps != nil {
		t.Errorf("defaults %+v, %v", e.o, err)
	}
	if list[0] = "changed"; e.o.Transports[0] != "quic" {
		t.Error("the list of transports is shared with the caller")
	}
	if st.Rejected(255) != 0 {
		t.Error("a reason that is none was counted")
	}
}

func TestReasons(t *testing.T) {
	want := strings.Fields("bad_version bad_flags bad_frame frame_too_large decompress_overflow bad_compression over_capacity peer_limit rate_limited " +
		"inflight_exceeded handshake_timeout read_timeout write_timeout idle_timeout slow_peer tls not_ready tor_bootstrap shutting_down io")
	if len(want) != int(numReasons)-1 {
		t.Fatalf("%d reasons, the canon has %d", numReasons-1, len(want))
	}
	legal := map[uint16]bool{400: true, 413: true, 429: true, 500: true, 503: true}
	for i, word := range want {
		r, ok := ParseReason(word)
		if !ok || int(r) != i+1 || r.String() != word || !legal[r.Status()] {
			t.Errorf("%q is %d, %v, %d", word, r, r, r.Status())
		}
	}
	for _, r := range []Reason{0, numReasons, 255} {
		if r.Status() != 500 || r.String() != fmt.Sprintf("reason(%d)", r) {
			t.Errorf("reason %d is %v, %d", r, r, r.Status())
		}
	}
	if _, ok := ParseReason(""); ok {
		t.Error("the empty word is a reason")
	}
}
