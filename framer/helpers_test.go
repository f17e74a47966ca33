package framer

import (
	"context"
	"encoding/json"
	"testing"
	"time"
)

// decodeAll decodes b with a fresh decoder.
func decodeAll(b []byte) (fs []Frame, rest []byte, err error) {
	d := NewDecoder(MaxFrame)
	for {
		var f Frame
		n, err := d.Next(b, &f)
		if err != nil || n == 0 {
			return fs, b, err
		}
		fs = append(fs, f)
		b = b[n:]
	}
}

// enc encodes a frame.
func enc(tb testing.TB, f Frame) []byte {
	tb.Helper()
	b, err := AppendFrame(nil, &f)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// req is an ordinary request.
func req(tb testing.TB, corr uint64, flags Flags, payload []byte) []byte {
	return enc(tb, Frame{Header: Header{Flags: FlagReq | flags, AppProtoID: 7, Tenant: TenantID{15: 9}, CorrID: corr}, Payload: payload})
}

// wantError checks that f is an error reply.
func wantError(tb testing.TB, f Frame, corr uint64, code uint16, why Reason) errorBody {
	tb.Helper()
	var b errorBody
	if f.Flags != FlagResp|FlagEnd || f.Code != code || f.CorrID != corr {
		tb.Errorf("error reply has flags %v, code %d, corr_id %d; want RESP|END, %d, %d", f.Flags, f.Code, f.CorrID, code, corr)
	}
	if err := json.Unmarshal(f.Payload, &b); err != nil {
		tb.Errorf("error body %q: %v", f.Payload, err)
	}
	if b.Code != code || b.Reason != why.String() || b.Message == "" {
		tb.Errorf("error body is %+v, want code %d and reason %s", b, code, why)
	}
	return b
}

// short is a context for calls that must succeed.
func short(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}
