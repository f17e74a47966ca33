package wire

import (
	"encoding/binary"
	"testing"
)

func frame(n int, flags, capLen uint16) []byte {
	b := make([]byte, max(n, HeaderLen))
	binary.BigEndian.PutUint32(b, uint32(n))
	binary.BigEndian.PutUint16(b[offVer:], version)
	binary.BigEndian.PutUint16(b[offFlags:], flags)
	binary.BigEndian.PutUint16(b[offCap:], capLen)
	return b
}

func TestFrameLen(t *testing.T) {
	badVersion := frame(HeaderLen, 1, 0)
	badVersion[offVer+1] = 2
	for _, c := range []struct {
		name string
		b    []byte
		want int
		ok   bool
	}{
		{"empty", frame(HeaderLen, 1, 0), HeaderLen, true},
		{"largest", frame(MaxFrame, 1, 0), MaxFrame, true},
		{"header alone", frame(MaxFrame, 1, 0)[:HeaderLen], MaxFrame, true},
		{"above the cap", frame(MaxFrame+1, 1, 0), 0, false},
		{"below a header", frame(HeaderLen-1, 1, 0), 0, false},
		{"version", badVersion, 0, false},
		{"reserved flag", frame(HeaderLen, 0x100, 0), 0, false},
		{"capability", frame(HeaderLen+4, 1|flagStart, 4), HeaderLen + 4, true},
		{"capability without START", frame(HeaderLen+4, 1, 4), 0, false},
		{"capability longer than the frame", frame(HeaderLen+4, 1|flagStart, 5), 0, false},
	} {
		got, err := FrameLen(c.b)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
}

func TestWhole(t *testing.T) {
	two := append(frame(HeaderLen+3, 1, 0), frame(HeaderLen+5, 1, 0)...)
	for cut := range len(two) + 1 {
		b := append([]byte(nil), two[:cut]...)
		n, frames, err := Whole(b)
		want, wantFrames := 0, 0
		if cut >= HeaderLen+3 {
			want, wantFrames = HeaderLen+3, 1
		}
		if cut == len(two) {
			want, wantFrames = len(two), 2
		}
		if n != want || frames != wantFrames || err != nil {
			t.Fatalf("%d bytes: %d, %d frames, %v", cut, n, frames, err)
		}
		if n > 0 && (binary.BigEndian.Uint16(b[offFlags:]) != flagResp|flagEnd || binary.BigEndian.Uint16(b[offCode:]) != codeOK) {
			t.Fatal("the first frame was not made a reply")
		}
	}
	if n, frames, err := Whole(append(two[:HeaderLen+3], frame(1, 1, 0)...)); n != HeaderLen+3 || frames != 1 || err == nil {
		t.Errorf("a bad second frame: %d, %d frames, %v", n, frames, err)
	}
}
