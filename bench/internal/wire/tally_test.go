package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func event(payload []byte) []byte {
	b := make([]byte, HeaderLen, HeaderLen+len(payload))
	binary.BigEndian.PutUint32(b, uint32(HeaderLen+len(payload)))
	b[offVer+1], b[offFlags+1] = version, flagEvent
	binary.BigEndian.PutUint16(b[offApp:], Proto)
	return append(b, payload...)
}

// Events are counted and not answered, the question for the tally is answered with it, and other frames with themselves.
func TestTallyAnswers(t *testing.T) {
	var server, client Tally
	for i := range 3 * sumEvery {
		p := bytes.Repeat([]byte{byte(i)}, 100+i)
		client.Add(p)
		if got := server.Answer(event(p)); got != nil {
			t.Fatalf("an event was answered: %x", got[:HeaderLen])
		}
	}
	ask := event(make([]byte, TallyLen))
	ask[offFlags+1] = 1
	binary.BigEndian.PutUint16(ask[offApp:], TallyProto)
	got, err := ReadTally(server.Answer(ask)[HeaderLen:])
	if err != nil || got != client || got.Frames != 3*sumEvery {
		t.Errorf("the server says %+v, %v; the client counts %+v", got, err, client)
	}
	if ask[offFlags+1] != flagResp|flagEnd || binary.BigEndian.Uint16(ask[offCode:]) != codeOK {
		t.Errorf("no reply: %x", ask[:HeaderLen])
	}
	echo := event([]byte("echo"))
	echo[offFlags+1] = 1
	if got := server.Answer(echo); !bytes.Equal(got[HeaderLen:], []byte("echo")) || got[offFlags+1] != flagResp|flagEnd || server != client {
		t.Errorf("%x", got)
	}
	if _, err := ReadTally(make([]byte, TallyLen-1)); err == nil {
		t.Error("half a tally was read")
	}
}

// Loss, order, and damage at either end change the sum at once, damage in the middle in every sumEvery-th event.
func TestTallySeesDamage(t *testing.T) {
	sum := func(spoil func(i int, p []byte) []byte) Tally {
		var tally Tally
		for i := range sumEvery {
			p := bytes.Repeat([]byte{byte(i)}, 64)
			if p = spoil(i, p); p != nil {
				tally.Add(p)
			}
		}
		return tally
	}
	right := sum(func(_ int, p []byte) []byte { return p })
	for name, spoil := range map[string]func(i int, p []byte) []byte{
		"lost": func(i int, p []byte) []byte {
			if i == 5 {
				return nil
			}
			return p
		},
		"reordered": func(i int, p []byte) []byte {
			if i == 5 || i == 6 {
				return bytes.Repeat([]byte{byte(11 - i)}, 64)
			}
			return p
		},
		"first byte": func(i int, p []byte) []byte { p[0] ^= byte(i & 1); return p },
		"last byte":  func(i int, p []byte) []byte { p[63] ^= byte(i & 1); return p },
		"middle":     func(_ int, p []byte) []byte { p[30] ^= 1; return p },
	} {
		if sum(spoil) == right {
			t.Errorf("%s: the same tally", name)
		}
	}
}
