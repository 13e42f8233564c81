"""Raw sets in Parquet, as others publish them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image
from pycocotools import mask as coco_mask


def write_rows(path, rows, schema=None):
    """Writes dicts as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def refcoco_rows(refs, instances):
    """The rows of jxu124/refcoco for the content of refs(unc).p and instances.json."""
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    images = {image["id"]: image for image in instances["images"]}
    rows = []
    for ref in refs:
        annotation, image = annotations[ref["ann_id"]], images[ref["image_id"]]
        x, y, width, height = annotation["bbox"]
        rows.append(
            {
                **{key: ref[key] for key in ("sent_ids", "file_name", "ann_id", "ref_id")},
                "image_id": ref["image_id"],
                "split": ref["split"],
                "sentences": [
                    {key: sentence[key] for key in ("raw", "sent", "sent_id", "tokens")}
                    for sentence in ref["sentences"]
                ],
                "category_id": ref["category_id"],
                "raw_anns": json.dumps(annotation),
                "raw_image_info": json.dumps(image),
                "raw_sentences": json.dumps(ref["sentences"]),
                "image_path": f"coco/train2014/{image['file_name']}",
                "bbox": [x, y, x + width, y + height],
                "captions": [sentence["sent"] for sentence in ref["sentences"]],
                "global_image_id": f"coco.{ref['image_id']}",
                "anns_id": str(ref["ann_id"]),
            }
        )
    return rows


def picture(width, height, color=(200, 30, 30), form="JPEG"):
    """The content of an image file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, form)
    return file.getvalue()


def box_mask(width, height, box):
    """A filled box as uint8 (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def refcoco_m_sample(number, size, box, sentences, category="person"):
    """A sample of moondream/refcoco-m whose mask is the filled box (x1, y1, x2, y2)."""
    runs = coco_mask.encode(np.asfortranarray(box_mask(*size, box)))
    x1, y1, x2, y2 = box
    return {
        "id": number,
        "image_id": 1,
        "category": category,
        "supercategory": "thing",
        "label": category,
        "sentences": sentences,
        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
        "mask": {"counts": runs["counts"].decode(), "size": [size[1], size[0]]},
    }


def refcoco_m_row(name, size, samples, content=None):
    """A row of moondream/refcoco-m."""
    content = picture(*size) if content is None else content
    return {
        "image": {"bytes": content, "path": None},
        "image_id": 1,
        "file_name": name,
        "samples": samples,
    }
