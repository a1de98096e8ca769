"""Take along the data file that reflection serves, which no import names."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files('uactor', includes=['**/*.binpb'])
