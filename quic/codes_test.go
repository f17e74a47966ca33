package quic

import (
	"testing"

	"github.com/ron-transport/ron-transport/framer"
)

// TestCodesFollowTheCanon: every reason that framer knows has the code of its place in the canon, and reads back.
func TestCodesFollowTheCanon(t *testing.T) {
	n := 0
	for r := framer.BadVersion; ; r++ {
		if _, ok := framer.ParseReason(r.String()); !ok {
			break
		}
		n++
		if c := CodeOf(r.String()); c != Code(r) || c.Reason() != r.String() {
			t.Errorf("%s: code %d reads as %q", r, c, c.Reason())
		}
	}
	if n != int(numCodes)-1 {
		t.Errorf("the canon has %d reasons, there are codes for %d", n, numCodes-1)
	}
	if c := CodeOf("unheard of"); c != CodeIO {
		t.Errorf("an unknown reason has code %d", c)
	}
	if r := Code(1 << 40).Reason(); r != "io" {
		t.Errorf("an unknown code reads as %q", r)
	}
}
