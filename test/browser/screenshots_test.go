package browser

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/cdproto/page"
)

// make screenshots sets it; all is looked at without it, too.
var screenshots = flag.String("screenshots", "", "folder that TestPages writes a picture of each page into")

// longest is how much of a page is on its picture.
const longest = 1500 // px

// shoot writes a picture of the page as it is now, in one of its forms.
func (b *browser) shoot(p shownPage, form string) {
	b.t.Helper()
	if *screenshots == "" || p.name == "" {
		return
	}
	width, height := eval[float64](b, `innerWidth`), eval[float64](b, `document.documentElement.scrollHeight`)
	// Forms that were sent show what came of it where they lead to.
	top := max(0, eval[float64](b, `(document.getElementById(`+quoted(cmp.Or(p.part, "here"))+`)?.getBoundingClientRect().top ?? 0) + scrollY - 120`))
	shot := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true),
		Clip: &page.Viewport{Y: top, Width: width, Height: min(height-top, longest), Scale: 1},
	})
	picture, err := png.Decode(bytes.NewReader(shot.Data))
	must(b.t, err)
	var out bytes.Buffer
	must(b.t,
		(&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColors(picture)),
		os.MkdirAll(*screenshots, 0o755),
		os.WriteFile(filepath.Join(*screenshots, p.name+"-"+form+".png"), out.Bytes(), 0o644),
	)
}

// fewColors is a picture in its commonest colours, or those nearest to them.
// Pages have few, but for the edges of letters; it takes a third of the space.
func fewColors(picture image.Image) image.Image {
	bounds := picture.Bounds()
	count := map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[rgba(picture.At(x, y))]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], rank(a)-rank(b))
	})
	var palette color.Palette
	for _, c := range colors[:min(len(colors), 64)] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range colors {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[rgba(picture.At(x, y))])
		}
	}
	return out
}

func rgba(c color.Color) color.RGBA { return color.RGBAModel.Convert(c).(color.RGBA) }

func rank(c color.RGBA) int { return int(c.R)<<16 | int(c.G)<<8 | int(c.B) }
