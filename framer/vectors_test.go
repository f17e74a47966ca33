package framer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// vector is a line of testdata/oap1.jsonl: what the reference codec answered.
type vector struct {
	Name, Op, Error, Hex string
	Input                vectorInput
	Decoded              *vectorFields
	Len                  int
	OK                   bool
	Left, Frames         int
	PayloadLen           int    `json:"payload_len"`
	HeaderHex            string `json:"header_hex"`
	FrameSHA256          string `json:"frame_sha256"`
}

type vectorFill struct{ Byte, Len int }

type vectorInput struct {
	Kind        string
	UA          *string
	Flags       []string
	Ver         uint16
	Code        uint16
	AppProtoID  uint16          `json:"app_proto_id"`
	TenantID    json.RawMessage `json:"tenant_id"`
	CorrID      json.RawMessage `json:"corr_id"`
	Cap         string
	CapFill     *vectorFill `json:"cap_fill"`
	Payload     string
	PayloadHex  string      `json:"payload_hex"`
	PayloadFill *vectorFill `json:"payload_fill"`
	ZstdLevel   int         `json:"zstd_level"`
}

type vectorFields struct {
	AppProtoID    uint16  `json:"app_proto_id"`
	CapHex        *string `json:"cap_hex"`
	CapLen        uint16  `json:"cap_len"`
	Code          uint16
	CorrID        string `json:"corr_id"`
	Flags         uint16
	Len           uint32
	PayloadHex    *string `json:"payload_hex"`
	PayloadLen    int     `json:"payload_len"`
	PayloadSHA256 string  `json:"payload_sha256"`
	TenantID      string  `json:"tenant_id"`
	Ver           uint16
}

// referenceReason is how the reference's errors read in the canon.
var referenceReason = map[string]string{
	"BadVersion": "bad_version", "BadFlags": "bad_flags", "FrameTooLarge": "frame_too_large", "TruncatedHeader": "bad_frame",
	"CapOnNonStart": "bad_frame", "CapOutOfBounds": "bad_frame", "Io": "bad_compression", "DecompressBoundExceeded": "decompress_overflow",
	"ZstdFeatureNotEnabled": "bad_compression",
}

// deviations are the vectors on which we differ from the reference: our verdict, and why.
var deviations = map[string]struct{ want, why string }{
	"enc_accepts_cap_on_nonstart": {"encode: bad_frame", "our encoder refuses what our decoder refuses"},
	"enc_accepts_ver2":            {"encode: bad_version", "our encoder refuses what our decoder refuses"},
	"ver_u8_layout_0101":          {"bad_frame, 0 frames, 38 left", "the length 33 is judged first, at four bytes"},
	"bad_flags_and_ver":           {"bad_version, 0 frames, 38 left", "the version is judged before the flags"},
	"len_zero":                    {"bad_frame, 0 frames, 38 left", "a length below the header's is no oversize"},
	"len_1":                       {"bad_frame, 0 frames, 38 left", "nothing of a condemned stream is consumed"},
	"len_37":                      {"bad_frame, 0 frames, 38 left", "nothing of a condemned stream is consumed"},
	"cap_oob_start":               {"bad_frame, 0 frames, 41 left", "nothing of a condemned stream is consumed"},
	"comp_two_zstd_frames":        {"bad_compression, 0 frames, 0 left", "one zstd frame only"},
	"zstd_window_128MiB":          {"bad_compression, 0 frames, 0 left", "windows above 8 MiB are refused before memory is taken"},
	"comp_without_zstd_feature":   {"ok, 1 frames, 0 left, payload 4096", "decompression is always built in"},
}

func readVectors(t *testing.T) []vector {
	f, err := os.Open("testdata/oap1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var vs []vector
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var v vector
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		vs = append(vs, v)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return vs
}

// number reads a number that may be a string, hexadecimal or not.
func number(t *testing.T, raw json.RawMessage) (hi, lo uint64) {
	s := strings.Trim(string(raw), `"`)
	if s == "" {
		return 0, 0
	}
	if h, ok := strings.CutPrefix(s, "0x"); ok && len(h) > 16 {
		_, hi = number(t, json.RawMessage("0x"+h[:len(h)-16]))
		s = "0x" + h[len(h)-16:]
	}
	lo, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return hi, lo
}

func tenantOf(t *testing.T, raw json.RawMessage) (id TenantID) {
	hi, lo := number(t, raw)
	for i := range 8 {
		id[i], id[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
	return id
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fill(f *vectorFill) []byte { return bytes.Repeat([]byte{byte(f.Byte)}, f.Len) }

// frameOf builds the frame a vector describes.
func frameOf(t *testing.T, v *vector) Frame {
	in := &v.Input
	_, corr := number(t, in.CorrID)
	f := Frame{Header: Header{Ver: in.Ver, Code: in.Code, AppProtoID: in.AppProtoID, Tenant: tenantOf(t, in.TenantID), CorrID: corr}}
	for _, name := range in.Flags {
		bit := Flags(0)
		for i := range 8 {
			if (Flags(1) << i).String() == name {
				bit = 1 << i
			}
		}
		if bit == 0 {
			t.Fatalf("flag %q", name)
		}
		f.Flags |= bit
	}
	f.Cap, f.Payload = []byte(in.Cap), []byte(in.Payload)
	switch {
	case in.CapFill != nil:
		f.Cap = fill(in.CapFill)
	case in.ZstdLevel != 0: // compressors differ: the payload is the reference's
		f.Flags |= FlagComp
		f.Payload = unhex(t, v.Hex)[HeaderLen:]
	case in.PayloadFill != nil:
		f.Payload = fill(in.PayloadFill)
	case in.PayloadHex != "":
		f.Payload = unhex(t, in.PayloadHex)
	}
	return f
}

func TestVectors(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range readVectors(t) {
		seen[v.Name] = true
		t.Run(v.Name, func(t *testing.T) {
			var ours, reference string
			switch v.Op {
			case "roundtrip":
				if v.Input.Kind != "" {
					helloVector(t, &v)
				} else {
					roundtripVector(t, &v)
				}
				return
			case "encode-reject", "encode-ok-decode-reject":
				ours = "encode: " + encodeVerdict(t, &v)
				reference = "encode: ok"
				if v.Op == "encode-reject" {
					reference = "encode: " + referenceReason[v.Error]
				} else if _, _, err := decodeAll(unhex(t, v.Hex)); err == nil || err.(*Error).Reason() != referenceReason[v.Error] {
					t.Errorf("decoder says %v, the reference %s", err, v.Error)
				}
			case "decode":
				ours = decodeVerdict(t, unhex(t, v.Hex))
				reference = referenceVerdict(t, &v)
			default:
				t.Fatalf("unknown op %q", v.Op)
			}
			want := reference
			if d, ok := deviations[v.Name]; ok {
				want = d.want
				if want == reference {
					t.Errorf("stale deviation: the reference says %q as well", reference)
				}
			}
			if ours != want {
				t.Errorf("verdict %q, want %q (the reference says %q)", ours, want, reference)
			}
		})
	}
	for name := range deviations {
		if !seen[name] {
			t.Errorf("deviation for %q, which is no vector", name)
		}
	}
	if len(seen) != 52 {
		t.Errorf("%d vectors, want 52", len(seen))
	}
}

func encodeVerdict(t *testing.T, v *vector) string {
	f := frameOf(t, v)
	dst := []byte("kept")
	out, err := AppendFrame(dst, &f)
	if err == nil {
		return "ok"
	}
	if string(out) != "kept" {
		t.Errorf("a refused frame left %q", out)
	}
	return err.(*Error).Reason()
}

// decodeVerdict takes bytes through a session: the reason, how many frames the handler saw, how many bytes stay.
func decodeVerdict(t *testing.T, wire []byte) string {
	frames, last := 0, 0
	h := &fakeHandler{frame: func(_ *Session, f *Frame) {
		frames++
		last = len(f.Payload)
		if f.Flags&FlagComp != 0 {
			t.Error("COMP is still set on a decompressed frame")
		}
	}}
	c := newFake(t, h, Options{})
	d := NewDecoder(MaxFrame)
	left := len(wire)
	for {
		var f Frame
		n, err := d.Next(wire[len(wire)-left:], &f)
		if n == 0 || err != nil {
			break
		}
		left -= n
	}
	c.feed(wire)
	verdict := "ok"
	for _, f := range c.sent() {
		var b errorBody
		if f.Code >= 400 && json.Unmarshal(f.Payload, &b) == nil {
			verdict = b.Reason
		}
	}
	verdict = fmt.Sprintf("%s, %d frames, %d left", verdict, frames, left)
	if last > 0 {
		verdict += fmt.Sprintf(", payload %d", last)
	}
	return verdict
}

func referenceVerdict(t *testing.T, v *vector) string {
	if v.OK || v.Name == "zstd_window_128MiB" {
		frames := v.Frames
		if v.Name == "zstd_window_128MiB" {
			frames, v.PayloadLen = 1, 1
		}
		s := fmt.Sprintf("ok, %d frames, %d left", frames, v.Left)
		if v.PayloadLen > 0 {
			s += fmt.Sprintf(", payload %d", v.PayloadLen)
		}
		return s
	}
	why, ok := referenceReason[v.Error]
	if !ok {
		t.Fatalf("unknown error %q", v.Error)
	}
	return fmt.Sprintf("%s, %d frames, %d left", why, v.Frames, v.Left)
}

func roundtripVector(t *testing.T, v *vector) {
	f := frameOf(t, v)
	wire := enc(t, f)
	if len(wire) != v.Len {
		t.Errorf("%d bytes, want %d", len(wire), v.Len)
	}
	if v.Hex != "" && hex.EncodeToString(wire) != v.Hex {
		t.Errorf("encoded to\n%x, want\n%s", wire, v.Hex)
	}
	if v.HeaderHex != "" {
		if hex.EncodeToString(wire[:HeaderLen]) != v.HeaderHex {
			t.Errorf("header %x, want %s", wire[:HeaderLen], v.HeaderHex)
		}
		if sum := sha256.Sum256(wire); hex.EncodeToString(sum[:]) != v.FrameSHA256 {
			t.Errorf("frame hashes to %x, want %s", sum, v.FrameSHA256)
		}
	}
	fs, rest, err := decodeAll(wire)
	if err != nil || len(fs) != 1 || len(rest) != 0 {
		t.Fatalf("decoded to %d frames, %d bytes left, %v", len(fs), len(rest), err)
	}
	g := fs[0]
	if !bytes.Equal(g.Cap, f.Cap) || !bytes.Equal(g.Payload, f.Payload) {
		t.Error("cap or payload changed on the way")
	}
	if v.Decoded != nil {
		fieldsMatch(t, v.Decoded, &g)
	}
}

func fieldsMatch(t *testing.T, d *vectorFields, g *Frame) {
	t.Helper()
	corr, err := strconv.ParseUint(d.CorrID, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Len: d.Len, Ver: d.Ver, Flags: Flags(d.Flags), Code: d.Code, AppProtoID: d.AppProtoID,
		Tenant: tenantOf(t, json.RawMessage(d.TenantID)), CapLen: d.CapLen, CorrID: corr}
	if g.Header != want {
		t.Errorf("header %+v, want %+v", g.Header, want)
	}
	payload := g.Payload
	if d.PayloadSHA256 != "" {
		z, err := NewInflater()
		if err != nil {
			t.Fatal(err)
		}
		defer z.Release()
		if payload, err = z.Inflate(payload); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(payload); hex.EncodeToString(sum[:]) != d.PayloadSHA256 {
			t.Errorf("payload hashes to %x, want %s", sum, d.PayloadSHA256)
		}
	} else if text := d.PayloadHex; text != nil && hex.EncodeToString(payload) != *text {
		t.Errorf("payload %x, want %s", payload, *text)
	}
	if len(payload) != d.PayloadLen {
		t.Errorf("payload of %d bytes, want %d", len(payload), d.PayloadLen)
	}
	if d.CapHex != nil && hex.EncodeToString(g.Cap) != *d.CapHex {
		t.Errorf("cap %x, want %s", g.Cap, *d.CapHex)
	}
}

// helloVector runs HELLOs through sessions: what ours sends is the reference's request, and what ours answers its reply.
// Tenant and corr_id of a request are the asker's: the vector's are put in.
func helloVector(t *testing.T, v *vector) {
	_, corr := number(t, v.Input.CorrID)
	tenant := tenantOf(t, v.Input.TenantID)
	wire := unhex(t, v.Hex)
	fs, _, err := decodeAll(wire)
	if err != nil || len(fs) != 1 {
		t.Fatal(err)
	}
	fieldsMatch(t, v.Decoded, &fs[0])
	c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { t.Error("a HELLO reached the handler") }}, Options{})
	if v.Input.Kind == "hello_reply" {
		c.feed(enc(t, Frame{Header: Header{Flags: FlagReq, Tenant: tenant, CorrID: corr}, Payload: []byte(`{"ua":null}`)}))
		if !bytes.Equal(c.out, wire) {
			t.Errorf("HELLO reply\n%q, want\n%q", c.out, wire)
		}
		return
	}
	c.feed(wire)
	if f := c.one(); f.Code != 200 || f.Flags != FlagResp || f.CorrID != corr || f.Tenant != tenant {
		t.Errorf("reply %+v", f.Header)
	}
	ua := ""
	if v.Input.UA != nil {
		ua = *v.Input.UA
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.s.Hello(short(t), ua); !errors.Is(err, errEnough) {
			t.Errorf("Hello: %v", err)
		}
	}()
	for len(c.out) == 0 {
		<-c.wake
		c.turn()
	}
	got := bytes.Clone(c.out)
	PutHeader(got, &fs[0].Header)
	if !bytes.Equal(got, wire) {
		t.Errorf("HELLO request\n%q, want\n%q", got, wire)
	}
	c.finish(errEnough)
	<-done
}

var errEnough = errors.New("enough")
