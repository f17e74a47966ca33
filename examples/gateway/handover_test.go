package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestHandoverFails: a successor that cannot start leaves its predecessor in charge, whatever the cause; a sound one takes over afterwards.
func TestHandoverFails(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "h")
	other := launch(t, s.config(""))
	one := launch(t, s.config(""), "--tls-handover="+path)
	addr := one.addr("tls")
	for _, tc := range []struct{ flag, says string }{
		{"--admin-listen=" + other.addr("admin"), "address already in use"}, {"--tls-listen=127.0.0.1:1", "tls.listen = "},
	} {
		two := begin(t, s.config(""), "--tls-handover="+path, tc.flag)
		two.ends(1)
		if !strings.Contains(two.whole(), tc.says) {
			t.Errorf("%s: the successor says\n%s", tc.flag, two.whole())
		}
		if got := code(ask(s.clients().dial(addr), 7, "x")); got != 200 {
			t.Errorf("%s: the predecessor answers %d", tc.flag, got)
		}
	}
	if one.find("handed over", nil) != nil {
		t.Error("handed over to a successor that could not start")
	}
	three := launch(t, s.config(""), "--tls-handover="+path)
	one.ends(0)
	if got := three.addr("tls"); got != addr {
		t.Errorf("the successor listens on %s, want %s", got, addr)
	}
}

// TestHandoverPath: where no successor could be waited for, the gateway does not start.
func TestHandoverPath(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "file")
	write(t, file, "")
	for _, path := range []string{filepath.Join(s.dir, "none", "h"), file, filepath.Join(s.dir, strings.Repeat("x", maxUnixPath))} {
		p := begin(t, s.config(""), "--tls-handover="+path)
		p.ends(1)
		if !strings.Contains(p.whole(), "tls.handover = ") {
			t.Errorf("%s: the gateway says\n%s", path, p.whole())
		}
	}
}
