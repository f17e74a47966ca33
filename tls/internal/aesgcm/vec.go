package aesgcm

// smallRecord is up to how many bytes a record of several parts is gathered first and encrypted in one go: copying that much costs less
// than one more call of the assembly.
const smallRecord = 2048

// SealVec appends one record to dst: the ciphertext of all parts, one behind the other, with the byte contentType behind them, and the
// tag, len(parts)+1+16 bytes in all. It is what Seal would make of the joined parts and the content type (RFC 8446, 5.2: TLSInnerPlaintext
// without padding), without joining them first: long stretches go from their part straight to dst, and only what surrounds the seams is
// copied, into its place in dst, and encrypted there. With AVX512 two parts of which the first has 1 to 64 bytes, as a frame's header and
// its payload, need no copy at all.
//
// Parts may be of any number and lengths, also none or empty. No part, nor additionalData, may overlap what is appended: that panics, as
// does a nonce that has not 12 bytes. Nothing is allocated if dst has the capacity. Nothing is kept, and nothing but dst is written.
// Any goroutine.
func (a *AEAD) SealVec(dst, nonce, additionalData []byte, parts [][]byte, contentType byte) []byte {
	if len(nonce) != NonceSize {
		panic(badNonce)
	}
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	if uint64(n) > maxPlaintext {
		panic(tooLarge)
	}
	whole, out := extend(dst, n+Overhead)
	for _, p := range parts {
		if anyOverlap(out, p) {
			panic(badOverlap)
		}
		noteRead(p)
	}
	if anyOverlap(out, additionalData) {
		panic(badAAD)
	}
	noteRead(additionalData)
	noteWrite(out)
	if a.keys == nil {
		std := a.fallback()
		gather(out, parts, 0, contentType)
		return std.Seal(whole[:len(dst)], nonce, out[:n], additionalData)
	}
	var w work
	aad := a.begin(&w, n, additionalData)
	a.sealParts(&w, nonce, aad, out[:n], parts, contentType)
	copy(out[n:], w.tag[:])
	w.wipe()
	return whole
}

// gather copies parts, from byte skip of the first one, and then contentType to the start of out, as far as it has room.
func gather(out []byte, parts [][]byte, skip int, contentType byte) {
	for _, p := range parts {
		out = out[copy(out, p[skip:]):]
		skip = 0
	}
	if len(out) > 0 {
		out[0] = contentType
	}
}

// sealParts encrypts parts and contentType to out, which has their length, and sets w.tag.
func (a *AEAD) sealParts(w *work, nonce, aad, out []byte, parts [][]byte, contentType byte) {
	if len(parts) == 2 && a.sealHeaded(w, nonce, aad, out, parts[0], parts[1], contentType) {
		return
	}
	skip := 0 // bytes of parts[0] that are done
	for {
		for len(parts) > 1 && skip == len(parts[0]) {
			parts, skip = parts[1:], 0
		}
		if left := len(out) - 1; len(parts) > 0 && len(parts[0])-skip == left {
			a.sealFinal(w, nonce, aad, out, parts[0][skip:], len(out), contentType) // nothing but the content type follows
			return
		}
		if len(out) <= smallRecord {
			gather(out, parts, skip, contentType)
			a.sealFinal(w, nonce, aad, out, out, len(out), 0)
			return
		}
		if run := (len(parts[0]) - skip) &^ (vecBatch - 1); run > 0 {
			a.sealMore(w, nonce, aad, out, parts[0][skip:skip+run])
			out, skip = out[run:], skip+run
		} else {
			gather(out[:vecBatch], parts, skip, contentType)
			a.sealMore(w, nonce, aad, out, out[:vecBatch])
			out = out[vecBatch:]
			parts, skip = advance(parts, skip+vecBatch)
		}
		aad = nil // hashed with the first of these calls
	}
}

// advance returns where byte n of parts is: the parts from there, and the offset in the first. n is at most their length.
func advance(parts [][]byte, n int) ([][]byte, int) {
	for len(parts) > 1 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	return parts, n
}
