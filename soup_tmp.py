import sys, shutil, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from safetensors import safe_open
out=Path(sys.argv[1]); runs=[Path(r) for r in sys.argv[2:]]
out.mkdir(exist_ok=True)
for f in ("config.toml","split.json","data.sha256"): shutil.copy(runs[-1]/f,out/f)
ws=[load_file(r/"weights.safetensors") for r in runs]
meta=safe_open(runs[0]/"weights.safetensors","pt").metadata()
avg={k:(torch.stack([w[k].float() for w in ws]).mean(0).to(v.dtype) if v.is_floating_point() else v) for k,v in ws[0].items()}
save_file({k:v.contiguous() for k,v in avg.items()},out/"weights.safetensors",meta)
