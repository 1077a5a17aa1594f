"""Labels the images in photos/: run again and again, it goes on where it was. The file name stands for a person."""

import sys
from pathlib import Path

import baldur

if __name__ == "__main__":
    classes = sorted({Path(photo).stem.split("-")[1] for photo in Path("photos").iterdir()})
    run = baldur.open("run", data="photos", classes=classes, image_size=8)
    while (labels := run.status()["labels"]) < int(sys.argv[1]):
        items = run.ask(min(10, int(sys.argv[1]) - labels))
        run.tell({item: Path(item.id).stem.split("-")[1] for item in items})
    run.train()
    print(run.quality())
